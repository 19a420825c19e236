"""Small files beside the shards of a space.

``cost.json``
    Seconds per image when rows were last computed on this machine: a run that finds every row in the cache
    reports it as the cost of frozen features.
``parity.json``
    Results of the parity check, for each engine that was used.
``about.json``
    What is known of the network and changes no number: the licence of its weights.
``calibration.bin``, ``calibration.json``
    The quantisation scales of a space in int8, and from how many images they were taken. Without the scales
    no row can be added to their space. All the other files may be lost or out of date.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from featx.cache.files import read_small_file
from featx.durable import replacing

__all__ = [
    "ABOUT",
    "CALIBRATION",
    "SIDECARS",
    "copy_notes",
    "read_calibration",
    "read_cost",
    "read_note",
    "write_cost",
    "write_note",
]

CALIBRATION = "calibration.bin"
ABOUT = "about"
_COST = "cost"
_PARITY = "parity"
_NOTES = (ABOUT, _COST, _PARITY, "calibration")

#: The files that may be in a space's folder.
SIDECARS = ("about.json", "cost.json", "parity.json", "calibration.json", CALIBRATION)

#: A note is a few lines; the scales of a network are a few numbers for each of its channels.
_MAX_NOTE_BYTES = 2**20
_MAX_CALIBRATION_BYTES = 2**26


def write_note(folder: Path, name: str, note: dict[str, Any]) -> None:
    """Write ``<name>.json`` into a space's folder; do nothing where the folder cannot be written."""
    content = json.dumps(note, sort_keys=True).encode()
    if len(content) > _MAX_NOTE_BYTES:  # it could not be read
        return
    try:
        with replacing(folder / f"{name}.json", parts=folder / "tmp") as file:
            file.write(content)
    except OSError:
        pass


def read_note(folder: Path, name: str) -> dict[str, Any]:
    """Return the dict in ``<name>.json``; an empty one if the file is missing or damaged."""
    content = read_small_file(folder / f"{name}.json", _MAX_NOTE_BYTES)
    try:
        note = json.loads(content or b"{}")
    except (ValueError, RecursionError, MemoryError):
        return {}
    return note if isinstance(note, dict) else {}


def copy_notes(source: Path, target: Path) -> None:
    """Copy the notes of a space from another cache; what is noted here already stays."""
    for name in _NOTES:
        theirs, ours = read_note(source, name), read_note(target, name)
        # The parity check has an entry for each engine and kind of machine.
        if theirs.keys() - ours.keys() and (not ours or name == _PARITY):
            write_note(target, name, theirs | ours)


def read_calibration(folder: Path) -> bytes | None:
    """Return the quantisation scales of a space, None where there are none; the caller checks their hash."""
    return read_small_file(folder / CALIBRATION, _MAX_CALIBRATION_BYTES)


def write_cost(folder: Path, seconds_per_image: float) -> None:
    """Write the seconds per image that computing rows took."""
    write_note(folder, _COST, {"seconds_per_image": seconds_per_image})


def read_cost(folder: Path) -> float | None:
    """Return seconds per image; None where nothing usable was noted."""
    value = read_note(folder, _COST).get("seconds_per_image")
    try:
        usable = isinstance(value, int | float) and math.isfinite(value) and value > 0
    except OverflowError:  # a whole number beyond any float
        return None
    return float(value) if usable else None  # type: ignore[arg-type]
