"""Find what a path into an archive means, such as ``photos.zip/cats/1.jpg``, and make such paths."""

from __future__ import annotations

import os
from typing import Any

from featx.data.readers.folders.listing import READ_ARCHIVES
from featx.errors import DatasetError
from featx.inputs import Source
from featx.places import LocalRanges, Place, PlaceError
from featx.places.archives import ArchiveIndex, ArchiveMember, index_archive


class ArchivedFiles:
    """Finds members by their paths; each archive is indexed once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ArchiveIndex, dict[str, int]]] = {}

    def find(self, path: str) -> Place | None:
        """Return the place of a member, given by the path of its archive and its own behind it; None without.

        `DatasetError` where the archive is damaged.
        """
        parts = path.split(os.sep)
        for depth in range(1, len(parts)):
            if os.path.splitext(parts[depth - 1])[1].lower() not in READ_ARCHIVES:
                continue
            archive = os.sep.join(parts[:depth])
            if archive in self._known or os.path.isfile(archive):
                index, numbers = self._members(archive)
                number = numbers.get("/".join(parts[depth:]))
                return None if number is None else index[number][1]
        return None

    def _members(self, archive: str) -> tuple[ArchiveIndex, dict[str, int]]:
        if archive not in self._known:
            try:
                index = index_archive(LocalRanges(archive))
            except PlaceError as error:
                raise DatasetError(f"{archive}: {error}") from error
            self._known[archive] = index, {name: i for i, name in enumerate(index.paths())}
        return self._known[archive]


def path_of_source(source: Source) -> str | None:
    """Return the path of the file that a source is, also of a member of an archive here; None without one.

    Of a file behind a URL it is the URL, if it needs no password and no signature.
    """
    given: Any = source
    path = getattr(given, "path", None)
    if isinstance(path, str):
        return path
    place = getattr(given, "place", None)
    if isinstance(place, ArchiveMember) and not place.is_remote:
        return os.path.join(place.ranges.name, *place.path.split("/"))
    url = getattr(place, "url", None)
    return url if url is not None and url == getattr(place, "name", None) else None
