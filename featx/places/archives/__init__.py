"""Archives whose members are read where they lie, by offset: zip and tar."""

from __future__ import annotations

from featx.places.archives.formats import archive_format, index_archive, why_not_read
from featx.places.archives.index import ArchiveIndex, Entry
from featx.places.archives.members import ArchiveMember, LostMember, ZipMember

__all__ = [
    "ArchiveIndex",
    "ArchiveMember",
    "Entry",
    "LostMember",
    "ZipMember",
    "archive_format",
    "index_archive",
    "why_not_read",
]
