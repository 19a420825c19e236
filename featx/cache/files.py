"""Where the cache lives, and how its folders are listed and its small files read."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from featx.durable import read_regular
from featx.errors import CacheError

__all__ = [
    "ADVICE",
    "CHECKS_FILE",
    "absolute",
    "default_root",
    "enough_memory",
    "is_file",
    "list_names",
    "read_small_file",
]

#: What data checks found, beside the folders of spaces (`featx.studies.kept_checks`).
CHECKS_FILE = "checks.journal"
ADVICE = "choose another folder with --cache or FEATX_CACHE"


def default_root() -> Path:
    """Return the cache folder that is used when none is named; `CacheError` if there is no home folder.

    It is ``$FEATX_CACHE``, else ``featx`` in the platform's folder for caches: ``$XDG_CACHE_HOME`` or
    ``~/.cache``, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.
    """
    if chosen := os.environ.get("FEATX_CACHE"):
        return absolute(chosen)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return absolute(local) / "featx" / "Cache"
    if sys.platform == "darwin":
        return absolute("~/Library/Caches/featx")
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path there is to be ignored.
    return absolute(xdg if os.path.isabs(xdg) else "~/.cache") / "featx"


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return `path` made absolute, with ``~`` expanded; links and missing parts stay as they are."""
    try:
        return Path(os.path.abspath(Path(path).expanduser()))
    except RuntimeError as error:
        raise CacheError(f"no home folder for the cache {path}; {ADVICE}") from error


def list_names(folder: Path, pattern: re.Pattern[str] | None = None) -> list[str]:
    """Return all names in a folder or, with `pattern`, those of the files whose whole name fits it.

    A missing folder has no names; `CacheError` if the folder cannot be read.
    """
    try:
        if pattern is None:
            return os.listdir(folder)
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if pattern.fullmatch(entry.name) and is_file(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CacheError(f"cannot read the cache {folder}: {error.strerror or error}; {ADVICE}") from error


def is_file(path: Path | os.DirEntry[str]) -> bool:
    """Whether `path` is a regular file: no folder, no circular link, no pipe, whose reader would wait."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_small_file(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a file; None if it is missing, unreadable, or larger than `limit` bytes."""
    try:
        return read_regular(path, at_most=limit)
    except (OSError, MemoryError):
        return None


@contextlib.contextmanager
def enough_memory(path: Path) -> Iterator[None]:
    """Turn `MemoryError` into `CacheError`: a lack of memory does not mean that `path` is damaged."""
    try:
        yield
    except MemoryError as error:
        raise CacheError(f"{path}: there is not enough memory to read or write it") from error
