"""Find the archives that a path, a pattern, a folder or a list means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from featx.data.readers.folders.folder_listing import PathFinder, list_images
from featx.data.readers.folders.listing import MANY_MORE, READ_ARCHIVES, Listing, count_texts, has_media
from featx.data.readers.patterns import find_files, is_pattern
from featx.errors import DatasetError
from featx.places import LocalRanges, PlaceError
from featx.places.archives import archive_format, why_not_read
from featx.places.archives.formats import HEAD


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip or tar by its name, or a tar by its first bytes.

    Many formats are zips inside (``.docx``, ``.npz``): their suffixes say more.
    """
    return is_archive_name(path) or archive_format(_head_of(path)) == "tar"


def is_archive_name(path: Any) -> bool:
    """Whether a string or path ends like the name of an archive that is read."""
    return isinstance(path, (str, os.PathLike)) and PurePath(path).suffix.lower() in READ_ARCHIVES


def refuse_compressed(path: str | os.PathLike[str]) -> None:
    """Raise `DatasetError` for an archive that is compressed as a whole, and for other kinds of archives."""
    if reason := why_not_read(_head_of(path), os.path.basename(path)):
        raise DatasetError(f"{os.fspath(path)}: {reason}")


def archives_in(folder: Path, images: Listing | None = None) -> list[str]:
    """Return the archives in and below a folder, as POSIX paths, sorted, if it is a folder of these.

    It is not, if it holds images or clips, or more than ten times as many texts. `images` is the folder's
    `list_images`, if there is one already.
    """
    listing = list_images(folder, on_error="skip") if images is None else images
    if not listing.archives or has_media(listing):
        return []
    if count_texts(listing) > MANY_MORE * len(listing.archives):
        return []
    return sorted("/".join(parts) for parts in listing.archives)


def expand_pattern(pattern: str) -> list[str] | None:
    """Return the archives that a pattern means, as `find_files` does; None for any other string."""
    if not is_archive_name(pattern) or not is_pattern(pattern):
        return None
    return find_files(pattern)


def find_archives(data: Sequence[Any]) -> list[str]:
    """Return the archives that a list of paths and patterns means; `DatasetError` where one is not there."""
    finder, found = PathFinder(), []
    for item in data:
        given = os.path.expanduser(os.fspath(item))
        path = finder.find(given)
        expanded = None if os.path.lexists(path) else expand_pattern(given)
        if expanded is None and not os.path.isfile(path):
            raise DatasetError(f"{given}: no such file")
        found += [path] if expanded is None else expanded
    return found


def name_shards(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Return the folder that several archives lie in, and what each is called below it."""
    folder = os.path.dirname(os.path.abspath(paths[0]))
    if len(paths) > 1:
        folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    return folder, [os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/") for path in paths]


def _head_of(path: str | os.PathLike[str]) -> bytes:
    try:
        ranges = LocalRanges(path)
        return ranges.read_range(0, min(HEAD, ranges.size))
    except PlaceError:
        return b""
