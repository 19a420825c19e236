"""What a place is, and what it takes from what it lies in."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

#: What names the state of a file, or of a part of it: (path or URL, size in bytes, two times in ns). Behind
#: the path of a part stand a null byte and the part's name; behind a URL, a null byte and its ETag.
StatKey: TypeAlias = tuple[str, int, int, int]


class PlaceError(OSError):
    """Why the bytes of a place cannot be read, in a few words that follow the name of the input."""


@runtime_checkable
class Place(Protocol):
    """Where the bytes of one input lie.

    It holds no open file and can be pickled in some hundred bytes; another process reads the same bytes.
    """

    @property
    def name(self) -> str:
        """What messages call it, such as ``"shards/0.tar: a/1.jpg"``."""

    @property
    def is_remote(self) -> bool:
        """Whether reading it waits for a network, so that many should be read at a time."""

    def read(self, at_most: int) -> bytes:
        """Return its bytes; thread-safe.

        `PlaceError` where it cannot be read, has changed since it was listed, or has more than `at_most`
        bytes.
        """

    def stat_key(self) -> StatKey | None:
        """Return what names its present state; None where that cannot be known without reading it."""


@runtime_checkable
class RangeReader(Protocol):
    """A file, local or remote, of which ranges are read: what an archive or a table lies in.

    It holds no open file that it could not open again, and can be pickled.
    """

    @property
    def name(self) -> str:
        """Its path or URL, without credentials, as messages name it."""

    @property
    def is_remote(self) -> bool:
        """Whether it lies behind a network."""

    @property
    def size(self) -> int:
        """Its bytes; `PlaceError` where it cannot be reached."""

    def read_range(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; thread-safe.

        `PlaceError` where there are fewer, or where the file has changed since it was first looked at.
        """

    def stat_key(self) -> StatKey | None:
        """Return what names its present state; None where that cannot be known."""


def read_start(place: Place, most: int, at_most: int) -> bytes:
    """Return the first bytes of a place, at most `most`.

    Only these are read where it has a method of that name or is a file by itself; else all is, which may be
    `at_most` bytes. `PlaceError` where they cannot be read.
    """
    own: Any = place
    if hasattr(place, "read_start"):
        start: bytes = own.read_start(most)
        return start
    if isinstance(place, RangeReader):
        return place.read_range(0, min(most, place.size))
    return place.read(at_most)[:most]
