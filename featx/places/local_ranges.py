"""Ranges of a file on this machine."""

from __future__ import annotations

import os
import stat
import threading
from typing import Any

from featx.errors import reason_of
from featx.places.place import PlaceError, StatKey


class LocalRanges:
    """A local file, opened once in each process that reads it (`RangeReader`).

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    seen : tuple, optional
        The stat key that it must have; default: that of the first look at it.
    """

    is_remote = False

    def __init__(self, path: str | os.PathLike[str], seen: StatKey | None = None) -> None:
        self.path = os.path.abspath(path)
        self._seen = seen
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._file: int | None = None

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    @property
    def size(self) -> int:
        """Its bytes."""
        self._open()
        assert self._seen is not None
        return self._seen[1]

    def read_range(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`."""
        file = self._open()
        parts = []
        try:
            while length > 0 and (part := os.pread(file, length, start)):
                parts.append(part)
                start, length = start + len(part), length - len(part)
        except OSError as error:
            raise PlaceError(f"cannot be read ({reason_of(error)})") from error
        if length:
            raise PlaceError(f"ends {length} bytes early: it is cut off, or was changed")
        if self.stat_key() != self._seen:
            raise PlaceError("was changed while it was read; run again")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def stat_key(self) -> StatKey | None:
        """Return (absolute path, size, mtime and ctime in ns) now; None where there is no such file."""
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return None
        return self.path, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _open(self) -> int:
        with self._lock:
            if self._file is None:
                try:
                    file = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
                except (OSError, ValueError) as error:
                    raise PlaceError(f"cannot be read ({reason_of(error)})") from error
                found = os.fstat(file)
                key = self.path, found.st_size, found.st_mtime_ns, found.st_ctime_ns
                if not stat.S_ISREG(found.st_mode) or self._seen not in (None, key):
                    os.close(file)
                    regular = stat.S_ISREG(found.st_mode)
                    raise PlaceError(
                        "was changed since it was listed; run again" if regular else "is no file"
                    )
                self._file, self._seen = file, key
            return self._file

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalRanges, (self.path, self._seen)

    def __repr__(self) -> str:
        return f"LocalRanges({self.path!r})"
