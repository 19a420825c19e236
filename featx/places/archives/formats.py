"""Tell which archive a file is, by its first bytes, and index its members."""

from __future__ import annotations

from featx.places.archives.index import ArchiveIndex, Visitor
from featx.places.archives.tar_index import index_tar, is_header
from featx.places.archives.zip_index import index_zip
from featx.places.place import PlaceError, RangeReader

#: Bytes of a file that show which archive it is.
HEAD = 512
# What is compressed as a whole: its first bytes, and what unpacks it.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip -k"),
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ\0": ("xz", "unxz -k"),
    b"(\xb5/\xfd": ("zstd", "unzstd"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
}
_OTHERS = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "RAR"}


def archive_format(head: bytes) -> str | None:
    """Return ``"zip"`` or ``"tar"`` for the first `HEAD` bytes of such an archive; None for anything else.

    A tar from before 1988 has no mark, and is told by the checksum of its first header.
    """
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    if head[257:262] == b"ustar" or is_header(head) or head == bytes(HEAD):  # the last has no members
        return "tar"
    return None


def why_not_read(head: bytes, name: str) -> str:
    """Say why an archive that begins like this is not read, and what to do; ``""`` if it is none of these.

    `name` is that of the file, for an example.
    """
    for magic, (kind, command) in _COMPRESSED.items():
        if head.startswith(magic):
            return (
                f"is compressed as a whole ({kind}), so no member can be read by itself; unpack it once, as "
                f"with {command} {name}, and give the .tar, or pack a .zip"
            )
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            return f"is a {kind} archive, which is not read; unpack it, or pack a .zip or .tar"
    return ""


def index_archive(
    ranges: RangeReader, *, on_error: str = "raise", visit: Visitor | None = None
) -> ArchiveIndex:
    """Return the members of a zip or tar; `PlaceError` where it is neither, or damaged.

    Parameters are those of `index_tar`; a zip is not visited.
    """
    head = ranges.read_range(0, min(HEAD, ranges.size))
    format = archive_format(head)
    # A program that unpacks the archive may stand before it.
    if format == "zip" or (format is None and ranges.name.lower().endswith(".zip")):
        return index_zip(ranges, on_error=on_error)
    if format == "tar":
        return index_tar(ranges, on_error=on_error, visit=visit)
    reason = why_not_read(head, ranges.name.rsplit("/", 1)[-1])
    raise PlaceError(reason or f"neither a zip nor a tar: it begins with {head[:8].hex(' ') or 'nothing'}")
