"""Check the texts of an HDF5 file before HDF5 reads them.

Texts of variable length lie in "global heap" collections, the only structure without a checksum. HDF5 can
loop for ever if a size in one is damaged, so the sizes are checked here first.

Source: The HDF Group, HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py

from featx.errors import FeaturesError

__all__ = ["check_heaps"]

_START = b"GCOL\x01\0\0\0"  # signature, version, three reserved bytes; NULs occur in no text
_HEADER = 16  # of a collection, and of each object in it
_BLOCK = 2**24


def check_heaps(path: Path, rows: h5py.Dataset) -> int:
    """Check all heap collections of a file, outside its embeddings; return the bytes of its longest text.

    `FeaturesError` if a collection, or an object in it, claims an impossible size.
    """
    longest = 0
    with open(path, "rb") as file:
        size = path.stat().st_size
        for start, stop in _gaps(rows, size):
            for at in _collections(file, start, stop):
                longest = max(longest, _check(file, at, size))
    return longest


def _collections(file: BinaryIO, start: int, stop: int) -> Iterator[int]:
    """Yield where collections begin in a part of the file."""
    while start < stop:
        file.seek(start)
        block = file.read(min(_BLOCK, stop - start))
        at = block.find(_START)
        while at >= 0:
            yield start + at
            at = block.find(_START, at + 1)
        if len(block) < _BLOCK:
            return
        start += _BLOCK - len(_START) + 1  # one may begin in this block and end in the next


def _gaps(rows: h5py.Dataset, size: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of the file outside the dataset."""
    taken: list[tuple[int, int]] = []
    if rows.chunks is not None:
        rows.id.chunk_iter(lambda chunk: taken.append((chunk.byte_offset, chunk.byte_offset + chunk.size)))
    elif rows.id.get_offset() is not None:
        taken.append((rows.id.get_offset(), rows.id.get_offset() + rows.id.get_storage_size()))
    position = 0
    for start, stop in sorted(taken):
        if start > position:
            yield position, min(start, size)
        position = max(position, stop)
    if position < size:
        yield position, size


def _check(file: BinaryIO, start: int, file_size: int) -> int:
    """Walk through a collection as HDF5 does, check that each step stays inside; return the longest text."""
    file.seek(start)
    header = file.read(_HEADER)
    size = int.from_bytes(header[8:], "little") if len(header) == _HEADER else 0
    if not _HEADER <= size <= file_size - start:
        raise FeaturesError(f"damaged: a collection of texts claims {size} bytes")
    collection = file.read(size - _HEADER)
    at = longest = 0
    while at + _HEADER <= len(collection):
        index, _, _, length = struct.unpack_from("<HHIQ", collection, at)
        # Object 0 is the free space, its length counts its header; the others are padded to 8 bytes.
        step = length if index == 0 else _HEADER + (length + 7) // 8 * 8
        if step < _HEADER or at + step > len(collection):
            raise FeaturesError(f"damaged: a text in a collection of {size} bytes claims {length} bytes")
        if index != 0:
            longest = max(longest, length)
        at += step
    return longest
