"""Read the file of a source, and name its state, for any kind of input."""

from __future__ import annotations

import os
import stat

from featx.durable import read_regular
from featx.errors import SourceError, reason_of
from featx.places import Place, PlaceError


def read_source_file(path: str, id: str, error_type: type[SourceError], at_most: int) -> bytes:
    """Return the bytes of a file; raise ``error_type(id, reason)`` where it cannot be read or is larger."""
    try:
        return read_regular(path, at_most=at_most)
    except FileNotFoundError as error:
        raise error_type(id, f"no such file: {path}") from error
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null byte in the path
        raise error_type(id, f"cannot be read ({reason_of(error)}): {path}") from error


def file_stat_key(path: str) -> tuple[str, int, int, int] | None:
    """Return (absolute path, size, mtime in ns, ctime in ns), or None where there is no regular file."""
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    return os.path.abspath(path), seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def read_place(place: Place, id: str, error_type: type[SourceError], at_most: int) -> bytes:
    """Return the bytes of a place; raise ``error_type(id, reason)`` where it cannot be read or has more."""
    try:
        return place.read(at_most)
    except PlaceError as error:
        # What a URL in a table names is called by it.
        raise error_type(id, str(error) if place.name == id else f"{error}: {place.name}") from error
    except (OSError, ValueError, MemoryError) as error:
        raise error_type(id, f"cannot be read ({reason_of(error)}): {place.name}") from error
