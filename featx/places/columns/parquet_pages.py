"""Unpack one page of a Parquet file: some values of a column of byte strings.

Only pages are unpacked and never a whole row group, so that memory is bounded by the largest page.
https://parquet.apache.org/docs/file-format/data-pages/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import MissingExtra
from featx.places.columns.thrift import read_struct
from featx.places.place import PlaceError

#: Types of pages.
DATA, INDEX, DICTIONARY, DATA_2 = range(4)
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_PLAIN, _DICTIONARY_OLD, _DICTIONARY = 0, 2, 8
_NAMES = {5: "DELTA_BINARY_PACKED", 6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}


@dataclass(frozen=True, slots=True)
class PageHeader:
    """What stands before a page."""

    type: int
    count: int  # values, those that are missing included
    unpacked: int
    packed: int
    encoding: int
    levels_length: int | None  # bytes before the packed part (second version); None in the first version
    is_packed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Values of a page: that of row i is ``data[starts[k]:stops[k]]`` with k = ``index[i]``.

    `index` is -1 where there is no value; None stands for 0, 1, 2, ... With `of_dictionary` the values are
    those of the dictionary page.
    """

    data: memoryview
    starts: np.ndarray | None
    stops: np.ndarray | None
    index: np.ndarray | None
    of_dictionary: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        arrays = (self.starts, self.stops, self.index)
        return self.data.nbytes + sum(array.nbytes for array in arrays if array is not None)


def read_header(data: bytes, at: int) -> tuple[PageHeader, int]:
    """Return a page's header and its length; `IndexError` if it goes on behind `data`."""
    fields, end = read_struct(data, at)
    kind, unpacked, packed = fields[1], fields[2], fields[3]
    about: dict[int, Any] = fields.get({DATA: 5, DICTIONARY: 7, DATA_2: 8}.get(kind, 0), {})
    levels = about.get(5, 0) + about.get(6, 0) if kind == DATA_2 else None
    encoding = about.get(4 if kind == DATA_2 else 2, 0)
    header = PageHeader(kind, about.get(1, 0), unpacked, packed, encoding, levels, about.get(7, True))
    if min(unpacked, packed, header.count, levels or 0) < 0 or (levels or 0) > min(packed, unpacked):
        raise ValueError("a page has no such size")
    return header, end - at


def unpack(header: PageHeader, packed: bytes, codec: int, levels: int) -> Page:
    """Return the values of a page, of a column with `levels` levels that may be missing.

    `PlaceError`, `ValueError` or `IndexError` where it is damaged or packed in a way that is not known.
    """
    if header.type == DATA_2:
        ahead = header.levels_length or 0
        data = _unpacked(packed[ahead:], header.unpacked - ahead, codec if header.is_packed else 0)
        defined = _runs(memoryview(packed)[:ahead], levels.bit_length(), header.count) if levels else None
    else:
        data = _unpacked(packed, header.unpacked, codec)
        defined = None
        if header.type == DATA and levels:
            length = int.from_bytes(data[:4], "little")
            defined = _runs(data[4 : 4 + length], levels.bit_length(), header.count)
            data = data[4 + length :]
    there = None if defined is None else defined == levels
    count = header.count if there is None else int(there.sum())
    starts: np.ndarray | None
    stops: np.ndarray | None
    index: np.ndarray | None
    if header.encoding == _PLAIN or header.type == DICTIONARY:
        starts, stops = _plain(data, count)
        index = np.arange(count) if there is not None and count < header.count else None
    elif header.encoding in (_DICTIONARY, _DICTIONARY_OLD):
        starts = stops = None
        index = _runs(data[1:], data[0], count) if count else np.empty(0, np.int32)
        data = data[:0]
    else:
        name = _NAMES.get(header.encoding, str(header.encoding))
        raise PlaceError(f"its values are encoded as {name}, which is not read; write them plain")
    if index is not None and there is not None and count < header.count:
        of_rows = np.full(header.count, -1, np.int32)
        of_rows[there] = index
        index = of_rows
    return Page(data, starts, stops, index, of_dictionary=starts is None)


def _unpacked(data: bytes, size: int, codec: int) -> memoryview:
    if codec == 0 or size == 0:
        if len(data) != size:
            raise ValueError("a page has another size than it states")
        return memoryview(data)
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "reading a .parquet file") from error
    if codec not in _CODECS:
        raise PlaceError(f"it is packed by codec {codec}, which is not read")
    try:
        made = memoryview(pyarrow.decompress(data, decompressed_size=size, codec=_CODECS[codec])).cast("B")
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise PlaceError(f"a page cannot be unpacked ({error})") from error
    if len(made) != size:
        raise ValueError("a page has another size than it states")
    return made


def _plain(data: memoryview, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where values begin and end that each stand behind their length, of four bytes."""
    if count > len(data) // 4:
        raise ValueError("a page ends early")
    starts, stops = np.empty(count, np.int64), np.empty(count, np.int64)
    at, end = 0, len(data)
    for i in range(count):
        at += 4
        starts[i] = at
        at += int.from_bytes(data[at - 4 : at], "little")
        if at > end:
            raise ValueError("a page ends early")
        stops[i] = at
    return starts, stops


def _runs(data: memoryview, width: int, count: int) -> np.ndarray:
    """Return `count` numbers of `width` bits, in runs of one value and in groups of eight that are packed."""
    if not 0 <= width <= 32:
        raise ValueError(f"numbers of {width} bits")
    found = np.zeros(count, np.int32)
    nbytes, done, at = (width + 7) // 8, 0, 0
    while done < count:
        head = shift = 0
        while True:
            byte = data[at]
            at += 1
            head |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if head & 1:
            length = (head >> 1) * width
            bits = np.unpackbits(np.frombuffer(data[at : at + length], np.uint8), bitorder="little")
            at += length
            numbers = bits[: len(bits) // width * width].reshape(-1, width) if width else np.zeros((0, 1))
            take = min(count - done, (head >> 1) * 8)
            if width:
                if len(numbers) < take:
                    raise ValueError("a page ends early")
                weights = (1 << np.arange(width, dtype=np.int64)).astype(np.int64)
                found[done : done + take] = numbers[:take] @ weights
        else:
            take = min(count - done, head >> 1)
            value = int.from_bytes(data[at : at + nbytes], "little")
            if at + nbytes > len(data) or value >> 31:
                raise ValueError("a page ends early")
            found[done : done + take] = value
            at += nbytes
        if take == 0:
            raise ValueError("an empty run")
        done += take
    return found
