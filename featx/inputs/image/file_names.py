"""Tell by a file's name whether it counts as an image, and whether its suffix fits the format."""

from __future__ import annotations

import os
import re
from pathlib import PurePath

#: Suffixes of each format that is decoded.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG 2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "HEIC": (".heic", ".heif", ".hif"),
}

#: Suffixes of the formats that are decoded, in lower case.
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

# Images that cannot be decoded. They count, so that they are reported and not silently left out.
_FOREIGN_SUFFIXES = frozenset([".jxl"])
_COUNTED = IMAGE_SUFFIXES | _FOREIGN_SUFFIXES

# A suffix and what may follow it: a query, a size such as ":large", blanks and dots.
_TRAILED = re.compile(r"(\.[a-z0-9]+)(?:[?!&;#=].*|:\w+|%(?:3f|26).*|[\s.]+)$", re.IGNORECASE)


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file counts as an image of a dataset, by its name.

    Hidden files, files in a hidden folder or in ``__MACOSX``, and files with another suffix (``Thumbs.db``)
    do not count. What crawlers append to a suffix is ignored (``photo.jpg?w=200``). JPEG XL counts
    although it cannot be decoded, so that it is reported.
    """
    if isinstance(path, str) and not path.startswith((".", "__")) and "/" not in path and os.sep not in path:
        # A name with a plain suffix, of which there may be millions.
        at = path.rfind(".")
        if at > 0 and path[at:].lower() in _COUNTED:
            return True
    path = PurePath(path)
    if any(is_ignored(part) for part in path.parts):
        return False
    trailed = _TRAILED.search(path.name)
    suffixes = {path.suffix.lower(), trailed[1].lower() if trailed else ""}
    return not suffixes.isdisjoint(_COUNTED)


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is left out of datasets, whatever it holds."""
    return (name.startswith(".") and name.strip(".") != "") or name == "__MACOSX"


def wrong_suffix(format: str, name: str) -> str | None:
    """Return the suffix of a file's name if it belongs to another image format than `format`, else None."""
    suffix = PurePath(name).suffix.lower()
    known = suffix in IMAGE_SUFFIXES or suffix in _FOREIGN_SUFFIXES
    return suffix if known and suffix not in SUFFIXES[format] else None
