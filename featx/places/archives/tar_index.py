"""Find the members of a tar archive by its headers: those of ustar, GNU and pax (POSIX.1-2017, pax).

Only headers are read, and what lies near them: data are passed over.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TypeVar

from featx.places.archives.index import ArchiveIndex, Visitor
from featx.places.archives.read_ahead import ReadAhead
from featx.places.place import PlaceError, RangeReader

_T = TypeVar("_T")

_BLOCK = 512
# Largest header of a long name, or of pax records; and longest name, of which many members may share one.
_MOST_HEADER, _MOST_NAME = 2**20, 2**13
# Bytes behind the end that are looked at: writers fill up to 20 blocks, or more for tapes.
_BEHIND = 2**16
# Links that lead to links, one after the other.
_MOST_LINKS = 40
_FILES = (b"0", b"\0", b"7")
_DOTS = re.compile(rb"\A(?:\./+)+")
_OCTAL = re.compile(rb"[0-7]*")
_HARD, _SYMBOLIC, _FOLDER, _SPARSE = b"1", b"2", b"5", b"S"
_SPECIAL = {b"3": "a device", b"4": "a device", b"6": "a pipe"}


@dataclass
class _Pending:
    """What headers before a member say of it, or of all members."""

    name: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    sparse: bool = False


@dataclass
class _Scan:
    """An archive that is being scanned, and its links: member number, folder or root, and target."""

    index: ArchiveIndex
    data: ReadAhead
    visit: Visitor | None
    links: list[tuple[int, bytes, bool]] = field(default_factory=list)


def index_tar(ranges: RangeReader, *, on_error: str = "raise", visit: Visitor | None = None) -> ArchiveIndex:
    """Return the members of a tar; `PlaceError` where it is damaged, naming the byte.

    With ``on_error="skip"``, the members before the damage are returned, and `ArchiveIndex.failures` has it.
    `visit` is called with the number, the name and the length of each member, and with a function that
    returns its bytes: of small members these were mostly read with their header.
    """
    scan = _Scan(ArchiveIndex(ranges), ReadAhead(ranges), visit)
    try:
        _scan(scan)
    except PlaceError as error:
        if on_error == "raise" and len(scan.index):
            hint = "to read the members before that: --on-error skip (on_error='skip')"
            raise PlaceError(f"{error}; {hint}") from error
        if on_error == "raise":
            raise
        scan.index.failures.append(("", str(error)))
    if scan.links:
        _resolve(scan)
    scan.index.hide_repeated()
    return scan.index


def _scan(scan: _Scan) -> None:
    data, at, size = scan.data, 0, scan.data.size
    pending, of_all = _Pending(), _Pending()
    while True:
        if at + _BLOCK > size:
            raise PlaceError(f"ends at byte {size} without the end of a tar: it is cut off")
        header = data.read(at, _BLOCK)
        if header == bytes(_BLOCK):
            return _check_end(data, at)
        _check_header(header, at)
        kind, length = header[156:157], _number(header[124:136], at)
        begin = at + _BLOCK
        if kind in (b"L", b"K", b"x", b"g", b"X"):
            if length > _MOST_HEADER:
                raise PlaceError(f"damaged: a header of {length} bytes at byte {at}")
            _within(begin, length, size, at)
            said = data.read(begin, length)
            if kind == b"L":
                pending.name = said.rstrip(b"\0")
            elif kind == b"K":
                pending.link = said.rstrip(b"\0")
            else:
                _read_pax(said, of_all if kind == b"g" else pending, at)
        else:
            if kind not in (_HARD, _SYMBOLIC, _FOLDER, *_SPECIAL):
                length = _first(pending.size, of_all.size, length)
                _within(begin, length, size, at)
            else:
                length = 0  # some writers state that of the target, and no data follow
            sparse = kind == _SPARSE or pending.sparse
            if kind == _SPARSE:
                begin = _after_sparse(data, header, begin)
            name = _first(pending.name, of_all.name, _name_in(header))
            link = _first(pending.link, of_all.link, header[157:257].rstrip(b"\0"))
            _take(scan, name, kind, link, begin, length, sparse)
            pending = _Pending()
        at = begin + -(-length // _BLOCK) * _BLOCK


def _first(*values: _T | None) -> _T:
    return next(value for value in values if value is not None)


def _take(scan: _Scan, name: bytes, kind: bytes, link: bytes, begin: int, length: int, sparse: bool) -> None:
    index = scan.index
    number = len(index)
    if max(len(name), len(link)) > _MOST_NAME:
        raise PlaceError(f"damaged: a name of {max(len(name), len(link))} bytes before byte {begin}")
    if name.startswith(b"./"):
        name = _DOTS.sub(b"", name)
    if kind == _FOLDER or (kind in _FILES and name.endswith(b"/")):
        if name.strip(b"/"):
            index.append(name.rstrip(b"/") + b"/", begin, 0)
        return
    index.append(name, begin, length)
    if sparse:
        index.lost[number] = "a sparse file; pack it again without --sparse"
    elif kind == _HARD:
        scan.links.append((number, _normal(link), True))
    elif kind == _SYMBOLIC:
        scan.links.append((number, _normal(posixpath.join(posixpath.dirname(name), link)), False))
    elif kind in _SPECIAL:
        index.lost[number] = f"not a file but {_SPECIAL[kind]}"
    elif kind not in _FILES:
        index.lost[number] = f"a member of the unknown type {kind!r}"
    elif scan.visit is not None:
        scan.visit(number, name, length, lambda: scan.data.read(begin, length))


def _normal(path: bytes) -> bytes:
    return posixpath.normpath(path)


def _resolve(scan: _Scan) -> None:
    """Give links the bytes of the member that they lead to; those to nothing fail when they are read."""
    index = scan.index
    numbers = {index.name_at(i): i for i in range(len(index))}
    targets = {number: target for number, target, _ in scan.links}
    for number, target, hard in scan.links:
        what = "a hard link" if hard else "a symbolic link"
        at: int | None = number
        for _ in range(_MOST_LINKS):
            at = numbers.get(targets[at]) if at in targets else at
            if at is None or at not in targets:
                break
        if at is None or at in targets or at in index.lost:
            said = target.decode("utf-8", "backslashreplace")
            index.lost[number] = f"{what} to {said!r}, which is no file of the archive"
        else:
            index.point(number, at)


def is_header(block: bytes) -> bool:
    """Whether the first block of a file is a header of a tar, by its checksum: some have no other mark."""
    try:
        _check_header(block[:_BLOCK], 0)
    except PlaceError:
        return False
    return True


def _check_header(header: bytes, at: int) -> None:
    """Compare the checksum: the sum of all bytes, with its own as blanks; some writers took signed bytes."""
    rest = header[:148] + b" " * 8 + header[156:]
    unsigned = sum(rest)
    stated = _number(header[148:156], at)
    right = len(header) == _BLOCK and (
        stated == unsigned or stated == unsigned - 256 * sum(byte > 127 for byte in rest)
    )
    if not right:
        raise PlaceError(f"damaged: no header of a tar at byte {at}")


def _number(field: bytes, at: int) -> int:
    """Return a number: octal digits, or, with the first bit set, binary (GNU)."""
    if field[:1] >= b"\x80":
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if not _OCTAL.fullmatch(digits):  # a sign would lead back to where it was read
        raise PlaceError(f"damaged: no header of a tar at byte {at}")
    return int(digits or b"0", 8)


def _within(begin: int, length: int, size: int, at: int) -> None:
    if begin + length > size:
        raise PlaceError(
            f"ends at byte {size}, inside the member whose header is at byte {at}: it is cut off"
        )


def _name_in(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _read_pax(records: bytes, into: _Pending, at: int) -> None:
    """Read records ``"LENGTH KEY=VALUE\\n"``."""
    start = 0
    while start < len(records) and records[start]:
        digits, _, _ = records[start : start + 20].partition(b" ")
        end = start + (int(digits) if digits.isdigit() else 0)
        key, mark, value = records[start + len(digits) + 1 : end - 1].partition(b"=")
        if not start + len(digits) + 2 < end <= len(records) or not mark:
            raise PlaceError(f"damaged: broken pax records at byte {at}")
        if key == b"path":
            into.name = value
        elif key == b"linkpath":
            into.link = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise PlaceError(f"damaged: broken pax records at byte {at}")
            into.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            into.sparse = True
        start = end


def _after_sparse(data: ReadAhead, header: bytes, begin: int) -> int:
    """Return where the data of an old GNU sparse file begin: behind headers that say where they belong."""
    more = header[482]
    while more and begin + _BLOCK <= data.size:
        more = data.read(begin, _BLOCK)[504]
        begin += _BLOCK
    return begin


def _check_end(data: ReadAhead, at: int) -> None:
    """Refuse an archive that continues after its end: its other members would be lost silently."""
    behind = data.read(at, min(_BEHIND, data.size - at))
    first = len(behind) - len(behind.lstrip(b"\0"))
    if first < len(behind):
        raise PlaceError(
            f"continues after its end, at byte {at + first}: it is damaged, or several archives in one file "
            "(tar --concatenate joins them)"
        )
