"""Where a Parquet file has the values of one column, as its footer says.

pyarrow ends the process at the damaged description of a column; this reader raises an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featx.places.columns.thrift import read_struct
from featx.places.local_ranges import LocalRanges
from featx.places.place import PlaceError, RangeReader

_MAGIC = b"PAR1"
_OPTIONAL, _REPEATED = 1, 2
_BYTE_ARRAY = 6


@dataclass(frozen=True, slots=True)
class Chunk:
    """The values of a column in one row group."""

    first_row: int
    rows: int
    start: int  # of its first page in the file
    length: int  # bytes in the file, headers included
    unpacked: int  # bytes of its pages, unpacked
    codec: int
    nulls: int | None  # rows without a value; None where that is not stated


@dataclass(frozen=True, slots=True)
class Column:
    """A column of byte strings: its name from the root, and how many of its levels may be missing."""

    path: tuple[str, ...]
    levels: int
    chunks: tuple[Chunk, ...]


def read_columns(reader: RangeReader, paths: list[tuple[str, ...]]) -> dict[tuple[str, ...], Column]:
    """Return the columns of bytes among `paths` that a Parquet file has; `PlaceError` if it is damaged."""
    try:
        footer = _footer(reader)
        levels = _levels(footer[2])
        chunks: dict[tuple[str, ...], list[Chunk]] = {path: [] for path in paths if path in levels}
        first = 0
        for group in footer.get(4, []):
            rows = _within(group[3], 2**48)
            for column in group[1]:
                path = tuple(name.decode() for name in column[3][3])
                if path in chunks:
                    chunks[path].append(_chunk(column, first, rows, reader.size))
            first += rows
            if any(len(found) != len(next(iter(chunks.values()))) for found in chunks.values()):
                raise ValueError("a row group lacks a column")
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise PlaceError(f"not a readable parquet file (its footer is damaged: {error})") from error
    return {path: Column(path, levels[path], tuple(found)) for path, found in chunks.items()}


def holds_features(path: str) -> bool:
    """Whether a file on this machine is a Parquet file of features, of ``featx extract -o F.parquet``.

    Its footer has the space of the rows, and names a column of them.
    """
    try:
        footer = _footer(LocalRanges(path))
        keys = {entry[1] for entry in footer.get(5, [])}
        return b"featx_space" in keys and b"embedding" in {element[4] for element in footer[2]}
    except (PlaceError, IndexError, KeyError, ValueError, TypeError, AttributeError):
        return False


def _footer(reader: RangeReader) -> dict[int, Any]:
    size = reader.size
    tail = reader.read_range(size - 8, 8) if size >= 12 else b""
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > size - 12:
        raise ValueError("it does not end as one")
    return read_struct(reader.read_range(size - 8 - length, length))[0]


def _levels(schema: list[dict[int, Any]]) -> dict[tuple[str, ...], int]:
    """Return, for each column of byte strings outside of lists, how many of its levels are optional."""
    found: dict[tuple[str, ...], int] = {}
    at = 1

    def walk(above: tuple[str, ...], children: int, optional: int, repeated: bool) -> None:
        nonlocal at
        if len(above) > 32:
            raise ValueError("columns are nested too deeply")
        for _ in range(children):
            element, at = schema[at], at + 1
            path = (*above, element[4].decode())
            levels = optional + (element.get(3, 0) == _OPTIONAL)
            inside = repeated or element.get(3, 0) == _REPEATED
            if element.get(5):
                walk(path, element[5], levels, inside)
            elif element.get(1) == _BYTE_ARRAY and not inside:
                found[path] = levels

    walk((), schema[0].get(5, 0), 0, False)
    return found


def _chunk(column: dict[int, Any], first_row: int, rows: int, size: int) -> Chunk:
    if column.get(1):
        raise ValueError("its columns lie in other files")
    about = column[3]
    start = about[9]
    if 0 < about.get(11, 0) < start:  # the dictionary lies before the values
        start = about[11]
    length = _within(about[7], size)
    if about[5] != rows:
        raise ValueError(f"{about[5]} values in {rows} rows")
    nulls = about.get(12, {}).get(3)
    return Chunk(first_row, rows, _within(start, size), length, _within(about[6], 2**48), about[4], nulls)


def _within(number: int, most: int) -> int:
    if not 0 <= number <= most:
        raise ValueError(f"{number} is no size")
    return number
