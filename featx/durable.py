"""Write files that exist completely or not at all, also after a kill or a power cut; read only regular files.

The order makes it safe: write under a temporary name, fsync the file, rename it over the target, fsync the
folder. Only then does the content have a name that survives. Reading never waits for a pipe, a device or a
file without an end.
"""

from __future__ import annotations

import contextlib
import errno
import functools
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
    "boot_digits",
    "check_regular",
    "file_stamp",
    "fsync_folder",
    "host_name",
    "is_left_over",
    "make_folder",
    "part_name",
    "read_regular",
    "replacing",
    "settled_stamp",
    "sweep_parts",
]

PART_NAME = re.compile(r"(\.featx-)?[0-9a-f]{32}\.(?P<host>[A-Za-z0-9-]*)\.(?P<pid>\d+)\.part")
_PART_LIFETIME = 24 * 3600.0
"""Seconds after which an unfinished file of another machine is removed."""
_COARSE_NS = 50_000_000  # two changes within this time may leave the same times in a file system
_ATTEMPTS = 64  # each after the first means that a folder was removed at the same moment

_T = TypeVar("_T")

_READINGS = 3
"""How often a file that changes while it is read is tried before it is refused."""

_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, os.strerror(errno.EISDIR)),
    (stat.S_ISFIFO, errno.EINVAL, "a named pipe, not a file"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "a device, not a file"),
)


def check_regular(path: str | os.PathLike[str], *, at_most: int | None = None) -> os.stat_result:
    """Raise `OSError` unless a path is a regular file of at most `at_most` bytes; links are followed.

    Call it before a library opens the path. ``strerror`` says what is wrong: no such file, a folder, a pipe,
    a socket, a device, or too large.
    """
    seen = os.stat(path)
    _check(seen, path, at_most)
    return seen


def read_regular(path: str | os.PathLike[str], *, at_most: int) -> bytes:
    """Read a whole regular file of at most `at_most` bytes; links are followed.

    `OSError` as from `check_regular`, and if the file changes while it is read.
    """
    check_regular(path, at_most=at_most)  # before opening, which can already make a device act
    # If a pipe has taken the file's place by now, opening must not wait for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    for _ in range(_READINGS):
        with open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb") as file:
            before = os.fstat(file.fileno())
            _check(before, path, at_most)
            size = before.st_size
            # No more bytes than its size: also a growing log or a file of /proc ends here.
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


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Return the path with the home folder in place of ``~``; unchanged where there is no such user."""
    return Path(os.path.expanduser(path))


def is_there(path: Path, kind: Callable[[Path], bool] = Path.is_file) -> bool:
    """Return whether there is a file, or what `kind` says; also for a name that is too long."""
    try:
        return kind(path)
    except (OSError, ValueError):
        return False


def file_stamp(path: str | os.PathLike[str]) -> tuple[int, int, int] | str:
    """Return size, time of change and inode of a file, which change with it; ``"gone"`` if there is none."""
    try:
        seen = os.stat(path)
    except OSError:
        return "gone"
    return seen.st_size, seen.st_mtime_ns, seen.st_ino


def settled_stamp(folder: str | os.PathLike[str]) -> tuple[int, int, int, int] | None:
    """Return what changes whenever a name in a folder does; None if one changed just now, or none is there.

    Take it before the folder is looked at: as long as the same stamp comes back, nothing has changed since.
    """
    now = time.time_ns()
    try:
        seen = os.stat(folder)
    except OSError:
        return None
    if max(seen.st_mtime_ns, seen.st_ctime_ns) > now - _COARSE_NS:
        return None
    return seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns


def fsync_folder(folder: Path) -> None:
    """Make the names in an existing folder durable, if the platform can."""
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
    """Create a folder (an absolute path) and its parents, each durably; an existing one is fine."""
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
    """Write a file that appears at `target` whole and durable, or not at all; an older file is replaced.

    Yields the file, open for writing and reading. If the block raises, the temporary file is removed and the
    target is whole: the old one or, if only the folder could not be synced, the new one. The temporary file
    is in `parts`, a folder of the same file system; by default it is hidden beside the target. With `insist`,
    folders that another process removes meanwhile are made again, and it is no error if the target is removed
    with its folder right after the rename.
    """
    if parts is None:
        part = target.with_name(f".featx-{part_name()}")
    else:
        part = parts / part_name()
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
    except BaseException:  # also after Ctrl-C nothing half-written may stay
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    with contextlib.suppress(*(FileNotFoundError,) * insist):
        for folder in (target.parent, *reversed(made)):
            fsync_folder(folder)


def _insisting(act: Callable[[], _T], folder: Path, made: list[Path] | None) -> _T:
    """Call `act`, and make `folder` again while it is missing; collect the parents of new folders in `made`.

    With `made` None, call `act` once and make nothing.
    """
    for _ in range(0 if made is None else _ATTEMPTS):
        try:
            return act()
        except FileNotFoundError:
            _make_again(folder, made)  # type: ignore[arg-type]
    return act()


def _make_again(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents, without syncing: others may be removing them."""
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
    """Remove the temporary files of killed writers from a folder, which may be missing; return their number.

    A file of this machine is removed if its writer no longer runs, another one if it is older than
    `older_than` seconds.
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
    """Whether the writer of an unfinished file, whose name fits `PART_NAME`, is gone; see `sweep_parts`.

    `OSError` if the file is gone.
    """
    match = PART_NAME.fullmatch(part.name)
    assert match is not None
    lives = _writer_lives(match)
    if lives is None:
        return part.stat().st_mtime < time.time() - older_than
    # A process has that number; after a day it is probably another one.
    return not lives or part.stat().st_mtime < time.time() - _PART_LIFETIME


def part_name() -> str:
    """Return a new name for a file that `sweep_parts` removes when this process is gone."""
    return f"{uuid.uuid4().hex}.{host_name()}.{os.getpid()}.part"


def host_name() -> str:
    """Return the name of this machine, for file names."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]


@functools.cache
def boot_digits() -> str:
    """Return 8 hex digits that tell this running machine from others, whatever their host names.

    They are of the id that Linux gives each boot, so that all containers of a machine have the same; they see
    one another's locks. Elsewhere they are of the network card and the host name.
    """
    try:
        seed = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        seed = f"{uuid.getnode()} {socket.gethostname()}".encode()
    import hashlib  # slow to import

    return hashlib.blake2b(seed, digest_size=4).hexdigest()


def _writer_lives(match: re.Match[str]) -> bool | None:
    """Whether the process that wrote a part still runs; None if that cannot be seen.

    If the writer lives after all (containers that share a host name), its rename fails, and a writer of the
    cache writes again.
    """
    if match["host"] != host_name() or os.name == "nt":  # there, signal 0 would end it
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
