"""Find the archives that a path, a pattern, a folder or a list means."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from featx.data.readers.folders.folder_listing import PathFinder, list_images
from featx.data.readers.folders.listing import MANY_MORE, READ_ARCHIVES, Listing, count_texts, has_media
from featx.errors import DatasetError
from featx.places import LocalRanges, PlaceError
from featx.places.archives import archive_format, why_not_read
from featx.places.archives.formats import HEAD

# A range such as {000..015}, or a choice such as {train,val}.
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{},]*(?:,[^{},]*)+)\}")
# Most files that a pattern may mean.
_MOST = 1_000_000


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
    """Return the files that a pattern such as ``shards/{000..015}.tar`` or ``train-*.tar`` means, sorted.

    None for a string that is no pattern of archives. `DatasetError` where none are there.
    """
    if not is_archive_name(pattern) or not (_BRACES.search(pattern) or glob.has_magic(pattern)):
        return None
    found: list[str] = []
    for path in expand_braces(os.path.expanduser(pattern)):
        if glob.has_magic(path):
            found += sorted(match for match in glob.glob(path, recursive=True) if os.path.isfile(match))
        elif os.path.isfile(path):
            found.append(path)
        else:
            raise DatasetError(f"{pattern}: no such file: {path}")
    if not found:
        raise DatasetError(f"{pattern}: no file is called like that")
    return list(dict.fromkeys(found))


def expand_braces(pattern: str) -> list[str]:
    """Return the names that braces in a pattern mean, without looking for them."""
    done, waiting = [], [pattern]
    while waiting:
        text = waiting.pop()
        match = _BRACES.search(text)
        if match is None:
            done.append(text)
            continue
        if match[3] is not None:
            choices: Sequence[str] = match[3].split(",")
        else:
            first, last, width = int(match[1]), int(match[2]), len(match[1])
            if not 0 <= last - first < _MOST:
                raise DatasetError(
                    f"{pattern}: {match[0]} must go from a number to a larger one, up to a million"
                )
            choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
        if len(choices) + len(waiting) + len(done) > _MOST:
            raise DatasetError(f"{pattern}: means more than a million files")
        waiting += [text[: match.start()] + choice + text[match.end() :] for choice in reversed(choices)]
    return done


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
