"""Read the segments of recordings from the columns of a table: start and end, or offset and duration."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featx.data.labels import is_missing
from featx.data.readers.known_columns import END_KEYS, LENGTH_KEYS, START_KEYS
from featx.inputs.audio import WHOLE, Segment
from featx.options.checks import short

# The file, start and end in the name of a segment.
_NAME = re.compile(r"(.+)#([0-9.]+(?:e[+-]?[0-9]+)?)-([0-9.]+(?:e[+-]?[0-9]+)?)?", re.DOTALL)


@dataclass
class Segments:
    """The segment of each row, the columns that state them, and what is wrong with some."""

    of_rows: list[Segment]
    columns: tuple[str, ...] = ()
    wrong: dict[int, tuple[str, str]] = field(default_factory=dict)  # row -> (column, what is wrong)


def read_segments(columns: Mapping[str, Sequence[Any]], n: int) -> Segments:
    """Return the segment of each of n rows: the whole recording where a table has no times.

    A segment begins at ``start`` (or ``offset``) and stops at ``end`` (or ``stop``), in seconds; without such
    a column, it is ``duration`` long if a column says where it begins. A blank start is that of the
    recording, and a blank end its end. Many tables state how long files are: without a start, ``duration`` is
    not looked at.
    """
    start, end = (next((key for key in keys if key in columns), "") for keys in (START_KEYS, END_KEYS))
    length = next((key for key in LENGTH_KEYS if key in columns and start and not end), "")
    found = Segments([WHOLE] * n, tuple(filter(None, (start, end or length))))
    for i in range(n if found.columns else 0):
        try:
            begin = _seconds(columns, start, i) or 0.0
            stop = _seconds(columns, end or length, i)
        except _Wrong as error:
            found.wrong[i] = error.args
            continue
        if length and stop is not None:
            if stop == 0:
                found.wrong[i] = length, "expected more than 0 seconds"
                continue
            stop += begin
        if stop is not None and stop <= begin:
            found.wrong[i] = end or length, f"the end, {stop:g} s, is not after the start, {begin:g} s"
            continue
        found.of_rows[i] = Segment(begin, stop)
    return found


def name_segment(file: str, segment: Segment) -> str:
    """Return what a segment of a file is called: ``rec.wav#10-12.5``; the file's name if it is the whole."""
    if segment.is_whole:
        return file
    return f"{file}#{_number(segment.start)}-{'' if segment.stop is None else _number(segment.stop)}"


def segment_in_name(name: str) -> tuple[str, Segment]:
    """Return the file and the segment that a name from `name_segment` means."""
    match = _NAME.fullmatch(name)
    if match is None:
        return name, WHOLE
    segment = Segment(float(match[2]), float(match[3]) if match[3] else None)
    return (match[1], segment) if name_segment(match[1], segment) == name else (name, WHOLE)


def cells_of_segment(segment: Segment) -> dict[str, str]:
    """Return the cells of the columns start and end; blank where the recording begins or ends."""
    start, stop = (None if segment.start == 0 else segment.start), segment.stop
    return {name: "" if time is None else _number(time) for name, time in (("start", start), ("end", stop))}


class _Wrong(ValueError):
    """A column, and what is wrong with its value."""


def _seconds(columns: Mapping[str, Sequence[Any]], name: str, i: int) -> float | None:
    value: Any = columns[name][i] if name else None
    if is_missing(value):
        return None
    try:
        seconds = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise _Wrong(
            name, f"expected seconds from the start of the recording, 0 or more, got {short(value)}; "
            "rename the column if it has another meaning",
        )  # fmt: skip
    return seconds


def _number(seconds: float) -> str:
    """Return a number of seconds exactly, without the zeros behind the point."""
    return repr(float(seconds)).removesuffix(".0")
