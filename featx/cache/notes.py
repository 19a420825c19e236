"""What is worth knowing about a space besides its rows, in small files beside the shards.

``cost.json``: seconds per image when rows were last computed on this machine; a run that finds every row in
the cache could not say otherwise what frozen features cost beside fine-tuning. ``parity.json``: how near the
engines that were used came to plain fp32. ``calibration.bin``: the scales of a space in int8;
``calibration.json``: from how many images. All but the scales are advice, not truth, and may be lost or
stale; without the scales no row can be added to their space.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from featx.cache.root import content_of
from featx.durable import replacing

__all__ = [
    "CALIBRATION",
    "NOTES",
    "recall",
    "recall_calibration",
    "recall_cost",
    "remember",
    "remember_cost",
]

CALIBRATION = "calibration.bin"
_COST = "cost"

#: Files that may be in a space's folder.
NOTES = ("cost.json", "parity.json", "calibration.json", CALIBRATION)

#: A note is a few lines, and the scales of a network are a few numbers for each of its channels.
_MOST_BYTES = 2**20
_MOST_CALIBRATION_BYTES = 2**26


def remember(folder: Path, name: str, note: dict[str, Any]) -> None:
    """Write a note into a space's folder; a folder that cannot be written is left as it is."""
    try:
        with replacing(folder / f"{name}.json", parts=folder / "tmp") as file:
            file.write(json.dumps(note, sort_keys=True).encode())
    except OSError:
        pass


def recall(folder: Path, name: str) -> dict[str, Any]:
    """A note of a space's folder, empty where there is none or it is damaged."""
    content = content_of(folder / f"{name}.json", _MOST_BYTES)
    try:
        note = json.loads(content or b"{}")
    except (ValueError, RecursionError, MemoryError):
        return {}
    return note if isinstance(note, dict) else {}


def recall_calibration(folder: Path) -> bytes | None:
    """The scales of a space in int8, which its hash tells from damaged ones; None where there are none."""
    return content_of(folder / CALIBRATION, _MOST_CALIBRATION_BYTES)


def remember_cost(folder: Path, seconds_per_image: float) -> None:
    """Note what a row cost."""
    remember(folder, _COST, {"seconds_per_image": seconds_per_image})


def recall_cost(folder: Path) -> float | None:
    """Seconds per image, None where nothing usable was remembered."""
    value = recall(folder, _COST).get("seconds_per_image")
    try:
        usable = isinstance(value, int | float) and math.isfinite(value) and value > 0
    except OverflowError:  # a whole number beyond any float
        return None
    return float(value) if usable else None  # type: ignore[arg-type]
