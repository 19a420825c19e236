"""What names a version of an object."""

from __future__ import annotations

from typing import NamedTuple

from featx.places.place import PlaceError


class State(NamedTuple):
    """What names a version of an object: its size in bytes (-1: unknown), ETag, and time of change in ns.

    Without an ETag and a time, versions cannot be told apart.
    """

    size: int = -1
    etag: str = ""
    changed: int = 0

    @property
    def is_known(self) -> bool:
        """Whether another version would have another state."""
        return self.size >= 0 and bool(self.etag or self.changed)

    def agrees(self, other: State) -> bool:
        """Whether both may be of one version, as far as each says."""
        if self.size != other.size and self.size >= 0 and other.size >= 0:
            return False
        if self.etag and other.etag:
            return self.etag == other.etag
        # Listings of S3 have milliseconds, its answers whole seconds.
        return not self.changed or not other.changed or self.changed // 10**9 == other.changed // 10**9


class Changed(PlaceError):
    """The object has another state than the one that was asked for."""

    def __init__(self) -> None:
        super().__init__("was changed since it was listed; run again")
