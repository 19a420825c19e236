"""Ranges of a file on this machine."""

from __future__ import annotations

import os
from typing import Any

from featx.errors import reason_of
from featx.places.open_files import open_in_state
from featx.places.place import PlaceError, StatKey


class LocalRanges:
    """A local file, opened when it is read (`RangeReader`); few are open at a time in a process.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    seen : tuple, optional
        The stat key that it must have; default: that of now.
    """

    is_remote = False

    def __init__(self, path: str | os.PathLike[str], seen: StatKey | None = None) -> None:
        self.path = os.path.abspath(path)
        self._seen = seen or self._key()

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._state()[1]

    def read_range(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`."""
        seen = self._state()
        file = open_in_state(seen)
        parts = []
        try:
            while length > 0 and (part := os.pread(file.descriptor, length, start)):
                parts.append(part)
                start, length = start + len(part), length - len(part)
        except (OSError, OverflowError, MemoryError) as error:
            raise PlaceError(f"cannot be read ({reason_of(error)})") from error
        if length:
            raise PlaceError(f"ends {length} bytes early: it is cut off, or was changed")
        if self.stat_key() != seen:
            raise PlaceError("was changed while it was read; run again")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def stat_key(self) -> StatKey | None:
        """Return (absolute path, size, mtime and ctime in ns); None where it has changed, or is not there."""
        key = self._key()
        return key if key == self._seen else None

    def _key(self) -> StatKey | None:
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return None
        return self.path, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _state(self) -> StatKey:
        if self._seen is None:
            raise PlaceError("no such file")
        return self._seen

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalRanges, (self.path, self._seen)

    def __repr__(self) -> str:
        return f"LocalRanges({self.path!r})"
