"""Find the members of a zip archive by its central directory (APPNOTE.TXT 6.3.10, sections 4.3 and 4.4)."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from featx.places.archives.index import ArchiveIndex
from featx.places.archives.members import why_unreadable
from featx.places.place import PlaceError, RangeReader

_END = struct.Struct("<4sHHHHIIH")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
# A local header, without name and extra fields.
_LEAST_HEADER = 30
# What stands where a number does not fit: it is in the zip64 field.
_LARGE = 0xFFFFFFFF
_ENCRYPTED, _UTF8 = 0x1 | 0x40 | 0x2000, 0x800
_ZIP64 = 0x0001
_MSDOS, _UNIX = 0, 3
# Bytes of the directory that are read at a time.
_BLOCK = 2**20
# Most bytes of the record at the end, with its comment.
_LAST = 2**16 + 22


@dataclass(frozen=True)
class _Directory:
    """Where the central directory lies, and how many members it has.

    `shift` bytes stand before the archive, such as a program that unpacks it.
    """

    start: int
    size: int
    count: int
    shift: int


def index_zip(ranges: RangeReader, *, on_error: str = "raise") -> ArchiveIndex:
    """Return the members of a zip; `PlaceError` where it is damaged, naming the byte.

    With ``on_error="skip"``, the members before the damage are returned, and `ArchiveIndex.failures` has it.
    """
    index = ArchiveIndex(ranges)
    directory = _find_directory(ranges)
    found = 0
    try:
        for fields, name, extra in _entries(ranges, directory):
            _take(index, fields, name, extra, directory.shift)
            found += 1
        if found != directory.count:
            raise PlaceError(f"damaged: its directory lists {found} members, its end says {directory.count}")
    except PlaceError as error:
        if on_error == "raise":
            raise
        index.failures.append(("", str(error)))
    _lose_overlapping(index, directory.start)
    index.hide_repeated()
    return index


def _find_directory(ranges: RangeReader) -> _Directory:
    size = ranges.size
    last = min(size, _LAST)
    tail = ranges.read_range(size - last, last)
    at = _find_end(tail)
    if at < 0:
        raise PlaceError(f"ends at byte {size} without the directory of a zip: it is cut off, or is none")
    _, disk, first_disk, _, count, length, start, _ = _END.unpack_from(tail, at)
    end = size - last + at
    if count == 0xFFFF or _LARGE in (length, start):
        end, disk, first_disk, count, length, start = _read_end_64(ranges, end, (disk, count, length, start))
    if disk or first_disk:
        raise PlaceError("is one part of a zip in several files; join them, as with zip -s 0")
    shift = end - length - start
    if shift < 0:
        raise PlaceError(f"damaged: its directory of {length} bytes does not lie before byte {end}")
    return _Directory(start + shift, length, count, shift)


def _find_end(tail: bytes) -> int:
    """Return where the record of the end begins in the last bytes; -1 without one.

    Its mark may stand in its comment, too: the one is taken whose comment ends with the file; without any, as
    where something was written behind the archive, the last one.
    """
    found, at = -1, len(tail)
    while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
        if at + _END.size <= len(tail):
            end = at + _END.size + _END.unpack_from(tail, at)[7]
            if end == len(tail):
                return at
            if found < 0 and end < len(tail):
                found = at
    return found


def _read_end_64(
    ranges: RangeReader, end: int, short: tuple[int, int, int, int]
) -> tuple[int, int, int, int, int, int]:
    """Return where the zip64 record of the end lies, its disks, and number, length and start of entries."""
    disk, count, length, start = short
    if end < _LOCATOR_64.size:
        return end, disk, disk, count, length, start
    mark, _, at, _ = _LOCATOR_64.unpack(ranges.read_range(end - _LOCATOR_64.size, _LOCATOR_64.size))
    if mark != b"PK\6\7":  # so there are just that many
        return end, disk, disk, count, length, start
    # The record may have fields of its own behind it, and a program before the archive moves all offsets.
    near = end - _LOCATOR_64.size - _END_64.size
    for place in (at, near):
        if 0 <= place <= near:
            record = _END_64.unpack(ranges.read_range(place, _END_64.size))
            if record[0] == b"PK\6\6":
                _, _, _, _, disk, first_disk, _, count, length, start = record
                return place, disk, first_disk, count, length, start
    raise PlaceError(f"damaged: no zip64 end of its directory at byte {at}")


def _entries(ranges: RangeReader, directory: _Directory) -> Iterator[tuple[tuple[int, ...], bytes, bytes]]:
    """Yield the fields, the name and the extra fields of each entry of the directory."""
    block, begin = b"", directory.start  # what was read, and from where
    at, end = directory.start, directory.start + directory.size
    while at < end:
        # An entry has at most 2**16 bytes in each of three fields.
        if at + _ENTRY.size + 3 * 2**16 > begin + len(block) < end:
            begin, block = at, ranges.read_range(at, min(_BLOCK, end - at))
        if at + _ENTRY.size > end or not block.startswith(b"PK\1\2", at - begin):
            raise PlaceError(f"damaged: no entry of its directory at byte {at}")
        fields = _ENTRY.unpack_from(block, at - begin)
        name_at = at - begin + _ENTRY.size
        extra_at = name_at + fields[10]
        at += _ENTRY.size + fields[10] + fields[11] + fields[12]
        if at > end:
            raise PlaceError(f"damaged: an entry of its directory reaches beyond byte {end}")
        yield fields, block[name_at:extra_at], block[extra_at : extra_at + fields[11]]


def _take(index: ArchiveIndex, fields: tuple[int, ...], name: bytes, extra: bytes, shift: int) -> None:
    made_by, flags, method = fields[1] >> 8, fields[3], fields[4]
    crc, length, size, offset = fields[7], fields[8], fields[9], fields[16]
    if _LARGE in (length, size, offset):
        size, length, offset = _widen(extra, size, length, offset)
        if max(size, length, offset + shift) >= 2**63:
            raise PlaceError(f"damaged: its directory states {max(size, length, offset):,} bytes")
    name = _decoded(name, flags, made_by)
    mode = fields[15] >> 16 if made_by == _UNIX else 0
    reason = why_unreadable(method)
    if flags & _ENCRYPTED:
        reason = "encrypted; unpack it with its password"
    elif stat.S_ISLNK(mode):
        reason = "a symbolic link, which is not followed in a zip"
    if reason:
        index.lost[len(index)] = reason
    index.append_zipped(name, offset + shift, length, size, method, crc)


def _widen(extra: bytes, size: int, length: int, offset: int) -> tuple[int, int, int]:
    """Return the three numbers, from the zip64 field (0x0001) where they do not fit."""
    at = 0
    while at + 4 <= len(extra):
        kind, n = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64:
            values = iter(struct.unpack_from(f"<{min(n, len(extra) - at - 4) // 8}Q", extra, at + 4))
            wide = [next(values, number) if number == _LARGE else number for number in (size, length, offset)]
            return wide[0], wide[1], wide[2]
        at += 4 + n
    return size, length, offset


def _decoded(name: bytes, flags: int, made_by: int) -> bytes:
    """Return a name as UTF-8: macOS and others write it without saying so; the rest is code page 437."""
    if not name.isascii() and not flags & _UTF8:
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            name = name.decode("cp437").encode("utf-8")
    # Some programs on Windows write its own separator.
    return name.replace(b"\\", b"/") if made_by == _MSDOS else name


def _lose_overlapping(index: ArchiveIndex, end: int) -> None:
    """Mark members that share bytes, or reach into the directory: a small zip could unpack without end."""
    if not len(index):
        return
    starts, lengths = index.ranges_taken.T
    order = np.argsort(starts, kind="stable")
    ends = starts[order] + _LEAST_HEADER + lengths[order]
    # The furthest end of the members before each, and the next start.
    before = np.maximum.accumulate(np.concatenate([[0], ends[:-1]]))
    after = np.append(starts[order][1:], end)
    wrong = (starts[order] < before) | (ends > after)
    for i in order[wrong].tolist():
        index.lost[i] = "damaged: it overlaps another member, or the directory"
