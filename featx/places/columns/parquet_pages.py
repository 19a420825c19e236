"""Unpack one page of a Parquet file: some values of a column of byte strings.

Only pages are unpacked and never a whole row group, so that memory is bounded by the largest page.
https://parquet.apache.org/docs/file-format/data-pages/
"""

from __future__ import annotations

import zlib
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
# Numbers in groups that are unpacked at a time.
_AT_ONCE = 2**16
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
    checksum: int | None  # CRC-32 of what stands behind the header, where it is stated


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
    checksum = fields.get(4)
    checksum = None if checksum is None else checksum & 0xFFFFFFFF
    is_packed = about.get(7, True)
    header = PageHeader(kind, about.get(1, 0), unpacked, packed, encoding, levels, is_packed, checksum)
    if min(unpacked, packed, header.count, levels or 0) < 0 or (levels or 0) > min(packed, unpacked):
        raise ValueError("a page has no such size")
    return header, end - at


def unpack(header: PageHeader, packed: bytes, codec: int, levels: int) -> Page:
    """Return the values of a page, of a column with `levels` levels that may be missing.

    `PlaceError`, `ValueError` or `IndexError` where it is damaged or packed in a way that is not known.
    """
    if header.checksum is not None and zlib.crc32(packed) != header.checksum:
        raise ValueError("its checksum is wrong")
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
        made = memoryview(_decompressed(data, size, _CODECS[codec])).cast("B")
    except (OSError, ValueError, zlib.error, pyarrow.ArrowException) as error:
        raise PlaceError(f"a page cannot be unpacked ({error})") from error
    if len(made) != size:
        raise ValueError("a page has another size than it states")
    return made


def _decompressed(data: bytes, size: int, codec: str) -> Any:
    """Return what is unpacked: where it is not `size` bytes, another number of bytes, or an error.

    pyarrow fills a buffer of `size` bytes, and leaves in it what the memory held where there are fewer.
    """
    import pyarrow

    if codec == "gzip":
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, size + 1)
    if codec == "brotli":
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), codec) as stream:
            return stream.read(size + 1)
    if codec == "snappy":
        stated, at, shift = 0, 0, 0
        while shift < 32:
            stated |= (data[at] & 127) << shift
            if data[at] < 128:
                break
            at, shift = at + 1, shift + 7
        if stated != size:
            raise ValueError(f"{stated} bytes, where its header says {size}")
    if codec == "lz4_raw":  # which does not say its size: one byte less must be too few
        try:
            pyarrow.decompress(data, decompressed_size=size - 1, codec=codec)
        except (OSError, pyarrow.ArrowException):
            pass
        else:
            raise ValueError(f"fewer bytes than the {size} that its header says")
    return pyarrow.decompress(data, decompressed_size=size, codec=codec)


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
    if at != end:
        raise ValueError("a page has more bytes than its values")
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
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        if head & 1:
            take = min(count - done, (head >> 1) * 8)
            _unpack_groups(data[at : at + -(-take * width // 8)], width, found[done : done + take])
            at += (head >> 1) * width
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


def _unpack_groups(data: memoryview, width: int, found: np.ndarray) -> None:
    """Fill an array with numbers of `width` bits each, the lowest bit first."""
    if len(data) * 8 < len(found) * width:
        raise ValueError("a page ends early")
    weights = 1 << np.arange(width, dtype=np.int64)
    for first in range(0, len(found) if width else 0, _AT_ONCE):  # in pieces that need little memory
        part = found[first : first + _AT_ONCE]
        piece = data[first * width // 8 : -(-(first + len(part)) * width // 8)]
        bits = np.unpackbits(np.frombuffer(piece, np.uint8), bitorder="little", count=len(part) * width)
        numbers = bits.reshape(-1, width) @ weights
        if numbers.max(initial=0) >> 31:
            raise ValueError("a number of more than 31 bits")
        part[:] = numbers
