"""Columns of encoded images or clips in Arrow files, read by offset, and in Arrow arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.places.place import Place, PlaceError, RangeReader
from featx.places.span import Span, WholeFile

_MAPS = "/proc/self/maps"
# Most bytes of a value that is read to tell what it is.
_MOST_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class SpanColumn:
    """Values that lie in a file as they are, each at its offset; some are files of their own."""

    reader: RangeReader
    starts: np.ndarray
    lengths: np.ndarray  # -1 where there is no value
    files: Mapping[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file."""
        return self.reader.name

    @property
    def missing(self) -> list[int]:
        """Rows without a value."""
        return [row for row in np.flatnonzero(self.lengths < 0).tolist() if row not in self.files]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> Place | None:
        if row in self.files:
            return WholeFile(self.files[row])
        length = int(self.lengths[row])
        return None if length < 0 else Span(self.reader, int(self.starts[row]), length)

    def value(self, row: int) -> bytes | None:
        """Return the bytes of a row; None without any."""
        place = self[row]
        return None if place is None else place.read(_MOST_BYTES)


@dataclass(frozen=True, eq=False)
class HeldColumn:
    """Values in the memory of this process, not copied before they are asked for."""

    data: memoryview
    starts: np.ndarray
    lengths: np.ndarray
    files: Mapping[int, str] = field(default_factory=dict)
    name = "memory"
    is_file = False

    @property
    def missing(self) -> list[int]:
        """Rows without a value."""
        return [row for row in np.flatnonzero(self.lengths < 0).tolist() if row not in self.files]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> Place | bytes | None:
        if row in self.files:
            return WholeFile(self.files[row])
        start, length = int(self.starts[row]), int(self.lengths[row])
        return None if length < 0 else bytes(self.data[start : start + length])

    def value(self, row: int) -> bytes | None:
        """Return the bytes of a row; None without any."""
        found = self[row]
        return found if found is None or isinstance(found, bytes) else found.read(_MOST_BYTES)

    def __reduce__(self) -> tuple[Any, ...]:
        return HeldColumn, (bytes(self.data), self.starts, self.lengths, dict(self.files))


def hold(array: Any, folder: str = "") -> HeldColumn:
    """Return the values of an array of pyarrow: of bytes, or of ``{bytes, path}`` with paths below `folder`.

    `PlaceError` where its offsets are damaged.
    """
    there = array.is_valid().to_numpy(zero_copy_only=False)
    data, paths = array, None
    if str(array.type).startswith("struct<"):
        fields = {array.type.field(i).name: array.field(i) for i in range(array.type.num_fields)}
        data, paths = fields["bytes"], fields.get("path")
        there = there & data.is_valid().to_numpy(zero_copy_only=False)
    _, offsets, values = data.buffers()
    wide = np.dtype(np.int64 if str(data.type).startswith("large") else np.int32)
    if len(data) == 0 or offsets is None:
        bounds = np.zeros(len(data) + 1, np.int64)
    else:
        skip = data.offset * wide.itemsize
        if skip + (len(data) + 1) * wide.itemsize > offsets.size:
            raise PlaceError("its offsets end early")
        bounds = np.frombuffer(offsets, wide, len(data) + 1, skip).astype(np.int64)
    view = memoryview(values).cast("B") if values is not None else memoryview(b"")
    lengths = np.diff(bounds)
    if len(bounds) and (bounds[0] < 0 or bounds[-1] > len(view) or (lengths < 0).any()):
        raise PlaceError("its offsets are damaged")
    lengths[~there] = -1
    files = {}
    if paths is not None and (lengths <= 0).any():
        try:
            paths.validate(full=True)  # pyarrow follows damaged offsets anywhere
        except ValueError as error:
            raise PlaceError("its paths are damaged") from error
        for row in np.flatnonzero(lengths <= 0).tolist():
            if named := paths[row].as_py():
                files[row] = os.path.join(folder, named)
    return HeldColumn(view, bounds[:-1], lengths, files)


def locate(column: HeldColumn, readers: Mapping[str, RangeReader]) -> HeldColumn | SpanColumn:
    """Return the same values by their offset in the file that this process has mapped, if it is one of these.

    The system says which file lies where in memory (Linux); elsewhere, the column stays in memory.
    """
    if not len(column.data):
        return column
    address = np.frombuffer(column.data, np.uint8).ctypes.data
    try:
        with open(_MAPS, encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                fields = line.rstrip("\n").split(maxsplit=5)
                first, _, end = fields[0].partition("-")
                if int(first, 16) <= address < int(end, 16):
                    reader = readers.get(fields[5]) if len(fields) == 6 else None
                    if reader is None:
                        return column
                    start = address - int(first, 16) + int(fields[2], 16)
                    return SpanColumn(reader, column.starts + start, column.lengths, column.files)
    except (OSError, ValueError):
        return column
    return column
