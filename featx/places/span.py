"""Places with a known offset: a span of a file, and a whole file whose path stands in a column."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from featx.durable import read_regular
from featx.errors import reason_of
from featx.places.place import PlaceError, RangeReader, StatKey


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of a file (`Place`)."""

    reader: RangeReader
    start: int
    length: int

    @property
    def name(self) -> str:
        """The file, and where in it."""
        return f"{self.reader.name}, bytes {self.start} to {self.start + self.length}"

    @property
    def is_remote(self) -> bool:
        """Whether the file lies behind a network."""
        return self.reader.is_remote

    def read(self, at_most: int) -> bytes:
        """Return the bytes."""
        if self.length > at_most:
            raise PlaceError(f"{self.length} bytes, expected at most {at_most}")
        return self.reader.read_range(self.start, self.length)

    def stat_key(self) -> StatKey | None:
        """Return the file's, with start and length behind its path."""
        key = self.reader.stat_key()
        return None if key is None else (f"{key[0]}\0{self.start}:{self.length}", *key[1:])


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file of its own (`Place`), which a column names and which may be any file."""

    path: str
    is_remote = False
    is_named = True

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def read(self, at_most: int) -> bytes:
        """Return its bytes."""
        try:
            return read_regular(self.path, at_most=at_most)
        except FileNotFoundError as error:
            raise PlaceError("no such file") from error
        except (OSError, ValueError) as error:
            raise PlaceError(f"cannot be read ({reason_of(error)})") from error

    def stat_key(self) -> StatKey | None:
        """Return (absolute path, size, mtime and ctime in ns); None where there is no such file."""
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return os.path.abspath(self.path), found.st_size, found.st_mtime_ns, found.st_ctime_ns
