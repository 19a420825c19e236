"""Files that are there completely or not at all, also after a kill or a power cut.

The order is what makes it so: write under a temporary name, fsync the file, rename it over the
target, fsync the folder. Only then has the content a name that survives.

Reading is guarded as well: a pipe, a device or a file without an end never makes a reader wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

__all__ = [
    "PART_NAME",
    "check_regular",
    "fsync_folder",
    "is_left_over",
    "make_folder",
    "read_regular",
    "replacing",
    "sweep_parts",
]

PART_NAME = re.compile(r"(\.featx-)?[0-9a-f]{32}\.(?P<host>[A-Za-z0-9-]*)\.(?P<pid>\d+)\.part")
_PART_LIFETIME = 24 * 3600.0
"""Seconds after which an unfinished file of another machine is taken for dead."""
_ATTEMPTS = 64  # each one after the first means that a folder was removed in the same moment

_T = TypeVar("_T")

_READINGS = 3
"""How often a file that changes under the reader's hands is read before it is refused."""

_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, os.strerror(errno.EISDIR)),
    (stat.S_ISFIFO, errno.EINVAL, "a named pipe, not a file"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "a device, not a file"),
)


def check_regular(path: str | os.PathLike[str], *, at_most: int | None = None) -> os.stat_result:
    """Refuse what is no regular file, or is too large, before a library opens it by its name.

    Parameters
    ----------
    path : str or path
        Links are followed.
    at_most : int, optional
        Bytes that the file may have.

    Returns
    -------
    os.stat_result

    Raises
    ------
    OSError
        If there is no such file, if it is a folder, a pipe, a socket or a device, or if it is larger; its
        ``strerror`` says which.
    """
    seen = os.stat(path)
    _check(seen, path, at_most)
    return seen


def read_regular(path: str | os.PathLike[str], *, at_most: int) -> bytes:
    """Read a whole regular file, never waiting for one that has no end.

    Parameters
    ----------
    path : str or path
        Links are followed.
    at_most : int
        Bytes that the file may have; a larger one is refused before any are read.

    Raises
    ------
    OSError
        As of `check_regular`, and when the file changes while it is read.
    """
    check_regular(path, at_most=at_most)  # before opening, which alone can make a device act
    # Should a pipe have taken the file's place by now, opening must not wait for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    for _ in range(_READINGS):
        with open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb") as file:
            before = os.fstat(file.fileno())
            _check(before, path, at_most)
            size = before.st_size
            # As many bytes as the file says it has: a log that grows and a file of /proc end here, too.
            data = file.read(size) or b""
            after = os.fstat(file.fileno())
        if len(data) == size == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
            return data
    raise OSError(errno.EAGAIN, "it changes while it is read; try again when it is complete", os.fspath(path))


def _check(seen: os.stat_result, path: str | os.PathLike[str], at_most: int | None) -> None:
    for is_kind, code, text in _KINDS:
        if is_kind(seen.st_mode):
            raise OSError(code, text, os.fspath(path))
    if at_most is not None and seen.st_size > at_most:
        raise OSError(
            errno.EFBIG, f"a file of {seen.st_size:,} bytes, the limit is {at_most:,}", os.fspath(path)
        )


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the platform can.

    Parameters
    ----------
    folder : Path
        An existing folder.
    """
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals its names by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network file systems without folder fsync
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each durably; an existing one is fine.

    Parameters
    ----------
    folder : Path
        An absolute path.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    if not stat.S_ISDIR(folder.stat().st_mode):  # FileNotFoundError when another process has removed it
        raise NotADirectoryError(errno.ENOTDIR, "exists and is not a folder", str(folder))
    fsync_folder(folder.parent)


@contextlib.contextmanager
def replacing(target: Path, *, parts: Path | None = None, insist: bool = False) -> Iterator[BinaryIO]:
    """Write a file that appears at `target` whole and durable, or not at all.

    Parameters
    ----------
    target : Path
        Where the file shall be; an older one is replaced.
    parts : Path, optional
        Folder of the temporary file, on the same file system. Default: hidden, beside the target.
    insist : bool, default=False
        Whether to make the folders again that another process removes meanwhile. A target that is removed
        together with its folder right after it got its name is no error then.

    Yields
    ------
    binary file
        Open for writing and reading. When the block ends without an exception, the content is on
        the disk under its name; when it raises, the temporary file is gone and the target is whole,
        the old one or (when only the folder could not be synced) the new one.

    Raises
    ------
    OSError
        Whatever the file system reports.
    """
    if parts is None:
        part = target.with_name(f".featx-{_part_name()}")
    else:
        part = parts / _part_name()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    made: list[Path] = []
    again = made if insist else None
    descriptor = _insisting(lambda: os.open(part, flags, 0o666), part.parent, again)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            _fsync_file(file.fileno())
        _insisting(lambda: os.replace(part, target), target.parent, again)
    except BaseException:  # also of Ctrl-C nothing half-written may stay
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    with contextlib.suppress(*(FileNotFoundError,) * insist):
        for folder in (target.parent, *reversed(made)):
            fsync_folder(folder)


def _insisting(act: Callable[[], _T], folder: Path, made: list[Path] | None) -> _T:
    """What `act` gives in a folder, which is made again as often as it is gone.

    With None as `made` it is not; else the folders in which one was made are added to that.
    """
    for _ in range(0 if made is None else _ATTEMPTS):
        try:
            return act()
        except FileNotFoundError:
            _make_again(folder, made)  # type: ignore[arg-type]
    return act()


def _make_again(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents in no time, for who is quicker than those that remove them."""
    for _ in range(2):
        try:
            folder.mkdir()
        except FileExistsError:
            return
        except FileNotFoundError:
            if folder.parent != folder:
                _make_again(folder.parent, made)
        else:
            made.append(folder.parent)
            return


def sweep_parts(folder: Path, *, older_than: float = _PART_LIFETIME) -> int:
    """Remove what killed writers left behind, hidden or not; other files stay.

    Parameters
    ----------
    folder : Path
        The folder of temporary files; it may be missing.
    older_than : float, default=86400
        Age in seconds below which a file may still belong to a living writer, if that cannot be
        seen: of a process of this machine it can.

    Returns
    -------
    int
        Number of files removed.
    """
    removed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if PART_NAME.fullmatch(entry.name) and is_left_over(Path(entry.path), older_than=older_than):
                    os.unlink(entry.path)
                    removed += 1
    return removed


def is_left_over(part: Path, *, older_than: float = _PART_LIFETIME) -> bool:
    """Whether an unfinished file is one that nobody will finish.

    Parameters
    ----------
    part : Path
        A file with a name that fits `PART_NAME`.
    older_than : float, default=86400
        As for `sweep_parts`.

    Raises
    ------
    OSError
        If the file is gone.
    """
    match = PART_NAME.fullmatch(part.name)
    assert match is not None
    lives = _writer_lives(match)
    if lives is None:
        return part.stat().st_mtime < time.time() - older_than
    # A process of that number: after a day it is taken to be another one.
    return not lives or part.stat().st_mtime < time.time() - _PART_LIFETIME


def _part_name() -> str:
    return f"{uuid.uuid4().hex}.{_host()}.{os.getpid()}.part"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]


def _writer_lives(match: re.Match[str]) -> bool | None:
    """Whether there is a process of the number that wrote a part; None where that cannot be seen.

    Should the writer live after all (containers that share a host name), its rename fails, and a writer of
    the cache writes again.
    """
    if match["host"] != _host() or os.name == "nt":  # there, signal 0 would end it
        return None
    try:
        os.kill(int(match["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        pass
    return True


def _fsync_file(descriptor: int) -> None:
    # macOS: fsync reaches the drive's volatile cache only.
    full = None
    with contextlib.suppress(ImportError):
        import fcntl

        full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)
