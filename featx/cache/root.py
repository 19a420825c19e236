"""Where the cache lives, and how its folders are named and listed."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from featx.errors import CacheError

__all__ = ["ADVICE", "absolute", "content_of", "default_root", "enough_memory", "is_file", "listed"]

ADVICE = "choose another folder with --cache or FEATX_CACHE"


def default_root() -> Path:
    """The cache folder when none is named.

    Returns
    -------
    Path
        ``$FEATX_CACHE``, else ``featx`` in the platform's folder for caches: ``$XDG_CACHE_HOME`` or
        ``~/.cache``, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.

    Raises
    ------
    CacheError
        If there is no home folder.
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
    """An absolute path, ``~`` expanded, links and missing parts left alone."""
    try:
        return Path(os.path.abspath(Path(path).expanduser()))
    except RuntimeError as error:
        raise CacheError(f"no home folder for the cache {path}; {ADVICE}") from error


def listed(folder: Path, pattern: re.Pattern[str] | None = None) -> list[str]:
    """The names in a folder, or those of the files whose whole name fits `pattern`.

    None when the folder is missing, CacheError when it cannot be read.
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
    """Whether it is a file that opens: no folder, no pipe that would wait for ever, no link in a circle."""
    try:
        return path.is_file()
    except OSError:
        return False


def content_of(path: Path, most: int) -> bytes | None:
    """The bytes of a small file; None when there is none, it cannot be read, or it is larger than `most`."""
    if not is_file(path):
        return None
    try:
        with open(path, "rb") as file:
            content = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    except (OSError, MemoryError):
        return None
    return content if len(content) <= most else None


@contextlib.contextmanager
def enough_memory(path: Path) -> Iterator[None]:
    """Turn a lack of memory into a `CacheError`: it says nothing against the file that was being read."""
    try:
        yield
    except MemoryError as error:
        raise CacheError(f"{path}: there is not enough memory to read or write it") from error
