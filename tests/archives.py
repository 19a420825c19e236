"""Write zip and tar archives of a few members, sound ones and others, byte by byte where need be."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path


def write_zip(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], **how) -> Path:
    """A zip of these members, stored unless `how` says otherwise; a slash behind a name makes a folder."""
    pairs = members.items() if isinstance(members, Mapping) else members
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, data in pairs:
            archive.writestr(name, data)
    return path


def write_tar(
    path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT
) -> Path:
    """A tar of these members; data that are a `tarfile.TarInfo` are a member of their own."""
    pairs = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in pairs:
            if isinstance(data, tarfile.TarInfo):
                data.name = name
                archive.addfile(data)
                continue
            member = tarfile.TarInfo(name)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def link(target: str, hard: bool = False) -> tarfile.TarInfo:
    """A member that is a link."""
    member = tarfile.TarInfo()
    member.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
    member.linkname = target
    return member


def of_type(kind: bytes) -> tarfile.TarInfo:
    """A member of this type, without data."""
    member = tarfile.TarInfo()
    member.type = kind
    return member


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def raw_zip(
    members: Iterable[dict], *, count: int | None = None, directory_shift: int = 0, end: bytes = b""
) -> bytes:
    """A zip of members that are told exactly; what is not told of one is right.

    Keys: name, data (as it stands in the archive), size, crc, method, flags, offset, made_by, attributes,
    local (False: it has no bytes of its own).
    """
    body, directory, n = b"", b"", 0
    for member in members:
        name, data = member["name"], member.get("data", b"")
        size, method = member.get("size", len(data)), member.get("method", 0)
        crc, flags = member.get("crc", zlib.crc32(data)), member.get("flags", 0)
        offset = member.get("offset", len(body))
        if member.get("local", True):
            local = struct.pack(
                "<4sHHHHHIIIHH", b"PK\3\4", 20, flags, member.get("local_method", method), 0, 0, crc,
                len(data), size & 0xFFFFFFFF, len(name), 0,
            )  # fmt: skip
            body += local + name + data
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\1\2", member.get("made_by", 3) << 8 | 20, 20, flags, method, 0, 0,
            crc, len(data), size & 0xFFFFFFFF, len(name), 0, 0, 0, 0, member.get("attributes", 0), offset,
        ) + name  # fmt: skip
        n += 1
    start = len(body) + directory_shift
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count or n, count or n, len(directory), start, 0)
    return body + directory + end + last


def tar_header(
    name: bytes, size: int = 0, kind: bytes = b"0", link: bytes = b"", magic=b"ustar\x0000"
) -> bytes:
    """One header of a tar, with its checksum."""
    stated = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    header = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + stated + b"00000000000\0"
    header += b" " * 8 + kind + link.ljust(100, b"\0") + magic
    header = header.ljust(512, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def raw_tar(*members: tuple[bytes, bytes], end: bytes = bytes(1024)) -> bytes:
    """A tar of headers with the data behind each, filled up to whole blocks."""
    return b"".join(header + data + bytes(-len(data) % 512) for header, data in members) + end
