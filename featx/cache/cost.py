"""What a row of a space cost: seconds per image when it was last computed on this machine.

A run that finds every row in the cache could not say otherwise what frozen features cost beside
fine-tuning. The number is advice, not truth: it lives beside the shards and may be lost or stale.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from featx.durable import replacing

__all__ = ["recall_cost", "remember_cost"]

_NAME = "cost.json"


def remember_cost(folder: Path, seconds_per_image: float) -> None:
    """Write the cost into a space's folder; a folder that cannot be written is left as it is."""
    try:
        with replacing(folder / _NAME, parts=folder / "tmp") as file:
            file.write(json.dumps({"seconds_per_image": seconds_per_image}).encode())
    except OSError:
        pass


def recall_cost(folder: Path) -> float | None:
    """Seconds per image, None where nothing usable was remembered."""
    try:
        value = json.loads((folder / _NAME).read_bytes())["seconds_per_image"]
        usable = isinstance(value, int | float) and math.isfinite(value) and value > 0
    except (ArithmeticError, OSError, ValueError, KeyError, TypeError):
        return None
    return float(value) if usable else None
