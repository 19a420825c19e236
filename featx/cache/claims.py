"""Claims: several processes and threads that need the same rows share out the work.

Before a run computes a row, it claims the row's digest in a file of its own in the space's ``tmp`` folder.
Other runs read these files and leave claimed rows alone until they are committed or their owner is gone. The
owner locks its file as long as it runs, so the claims of a killed run are void at once. If a run is stopped
or hangs, another run that waits voids its claims after a time without a new claim or a commit, both of which
change the file's mtime. Claims on committed rows are forgotten, so that memory does not grow with a run.

Claims save work and guard nothing: where a file system has no locks, another machine does not see them, or a
lock is not free in time, the same row is computed twice, and both are right.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from featx.cache.identity import DIGEST_SIZE
from featx.durable import host_name

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["CLAIM_NAME", "Claims"]

#: A claim file, or the file that is locked while claims are read and written.
CLAIM_NAME = re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9-]*\.\d+\.claim|claims\.lock")

_LOCK_NAME = "claims.lock"
#: The lock is held for milliseconds; after this many seconds its holder has probably been stopped.
_LOCK_SECONDS = 5.0
#: Bytes of a claim file from which on a new one with only the rows in flight takes its place.
_LONG_FILE = 2**20
#: Pause between two attempts to lock.
_POLL_SECONDS = 0.002


class Claims:
    """The claims of one run on rows of one space, in its ``tmp`` folder. Thread-safe.

    Nothing is written before the first `take`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: set[bytes] = set()
        self._file: int | None = None
        self._path: Path | None = None
        self._others: dict[str, _OtherRun] = {}
        self._shared = fcntl is not None
        self._stalled = False  # the lock was not free in time
        self._hurried = False
        self._lock = threading.Lock()
        _all.add(self)

    def take(self, digests: Sequence[bytes]) -> list[bool]:
        """Claim the digests that are free; return which they were.

        True means that the caller must compute the row; False that this or another run already does.
        """
        with self._lock:
            free = [digest not in self._mine for digest in digests]
            if any(free) and self._shared:
                with contextlib.suppress(OSError), self._exclusive():
                    self._look()
                    free = [
                        is_free and not self._claimed(digest)
                        for digest, is_free in zip(digests, free, strict=True)
                    ]
                    self._write([digest for digest, is_free in zip(digests, free, strict=True) if is_free])
            taken = []
            for digest, is_free in zip(digests, free, strict=True):
                taken.append(is_free and digest not in self._mine)
                if is_free:
                    self._mine.add(digest)
            return taken

    def free(self, digests: Sequence[bytes]) -> list[bool]:
        """Return which digests are not claimed at the moment."""
        with self._lock:
            if self._shared:
                with contextlib.suppress(OSError), self._exclusive():
                    self._look()
            return [digest not in self._mine and not self._claimed(digest) for digest in digests]

    def void_silent(self, seconds: float) -> list[str]:
        """Void the claims of other runs that have shown no sign of life for `seconds`.

        Return these runs, each once: ``"process 4711 on somehost"``. A later sign of life makes their claims
        valid again.
        """
        with self._lock:
            now = time.monotonic()
            silent = {
                name: other
                for name, other in self._others.items()
                if not other.void and now - other.last_sign >= seconds
            }
            for other in silent.values():
                other.void = True
        return [f"process {pid} on {host}" for _, host, pid, _ in (name.split(".") for name in silent)]

    def committed(self, digests: Iterable[bytes]) -> None:
        """Forget digests whose rows are on disk now, and show other runs that this one works."""
        with self._lock, contextlib.suppress(OSError):
            self._mine.difference_update(digests)
            if self._file is None or self._path is None:
                return
            os.utime(self._file)
            if os.fstat(self._file).st_size > max(_LONG_FILE, 2 * DIGEST_SIZE * len(self._mine)):
                with self._exclusive():
                    old, old_path = self._file, self._path
                    self._file, self._path = self._new_file(list(self._mine))
                    os.close(old)
                    old_path.unlink()

    def drop(self, digests: Iterable[bytes]) -> None:
        """Give up digests that this run did not compute; other runs see that only when this one ends."""
        with self._lock:
            self._mine.difference_update(digests)

    def hurry(self) -> None:
        """Let threads that wait for the lock go on without it: the run is ending."""
        self._hurried = True

    def drop_all(self) -> None:
        """Give up all claims: their rows are committed, or other runs may compute them."""
        with self._lock:
            self._give_back()
            self._hurried = False

    def close(self) -> None:
        """Give up all claims, and close the files of other runs."""
        with self._lock:
            for other in self._others.values():
                os.close(other.file)
            self._others.clear()
            self._give_back()

    def _give_back(self) -> None:
        if self._file is not None and self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
        self._file = self._path = None
        self._mine.clear()

    def _claimed(self, digest: bytes) -> bool:
        """Whether another run had claimed it when the files were last read."""
        return any(digest in other.claims for other in self._others.values() if not other.void)

    def leave_to_parent(self) -> None:
        """Close what a forked child inherited, or the claims would hold as long as the child runs."""
        self._lock = threading.Lock()
        for file in (self._file, *(other.file for other in self._others.values())):
            if file is not None:
                with contextlib.suppress(OSError):
                    os.close(file)
        self._file = self._path = None
        self._others.clear()
        self._mine.clear()

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock of this space's claims, or go on without it after `_LOCK_SECONDS`.

        Without it, two runs may take the same row. After one such wait, nothing waits until the lock has been
        free again.
        """
        try:
            file = os.open(self._folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder is not made yet, or the cache is being cleared
            raise
        except OSError:
            self._shared = False  # a place that cannot be written
            raise
        try:
            try:
                self._stalled = not self._locked(file)
            except OSError:
                self._shared = False  # a file system without locks
                raise
            yield
        finally:
            os.close(file)

    def _locked(self, file: int) -> bool:
        """Lock a file; return False if it was not free in time."""
        deadline = time.monotonic() + (0.0 if self._stalled else _LOCK_SECONDS)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if self._hurried or time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_SECONDS)

    def _look(self) -> None:
        """Read new claims of other runs, and remove the files of runs that have ended."""
        names = {
            name for name in os.listdir(self._folder) if name != _LOCK_NAME and CLAIM_NAME.fullmatch(name)
        }
        if self._path is not None:
            names.discard(self._path.name)
        for name in names - self._others.keys():
            with contextlib.suppress(OSError):
                file = os.open(self._folder / name, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
                if stat.S_ISREG(os.fstat(file).st_mode):
                    self._others[name] = _OtherRun(file)
                else:
                    os.close(file)
        for name, other in list(self._others.items()):
            if name not in names or other.is_gone():
                os.close(other.file)
                del self._others[name]
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink()
            else:
                other.read_on()

    def _write(self, digests: list[bytes]) -> None:
        if not digests:
            return
        if self._file is None:
            self._file, self._path = self._new_file(digests)
        else:
            os.write(self._file, b"".join(digests))

    def _new_file(self, digests: list[bytes]) -> tuple[int, Path]:
        path = self._folder / f"{uuid.uuid4().hex}.{host_name()}.{os.getpid()}.claim"
        part = path.with_suffix(".part")  # others would void a claim file that is not locked yet
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(file, b"".join(digests))
            os.replace(part, path)
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        return file, path


class _OtherRun:
    """The claim file of another run."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.claims: set[bytes] = set()
        self.void = False
        self.last_sign = time.monotonic()
        self._rest = b""
        self._changed: tuple[int, int] | None = None

    def is_gone(self) -> bool:
        """Whether its owner has ended, so that it can be locked."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def read_on(self) -> None:
        """Read new claims, and note whether the owner has shown a sign of life."""
        status = os.fstat(self.file)
        if self._changed != (status.st_size, status.st_mtime_ns):
            self._changed = status.st_size, status.st_mtime_ns
            self.last_sign, self.void = time.monotonic(), False
        while chunk := os.read(self.file, 1 << 20):
            data = self._rest + chunk
            whole = len(data) - len(data) % DIGEST_SIZE
            self.claims.update(data[i : i + DIGEST_SIZE] for i in range(0, whole, DIGEST_SIZE))
            self._rest = data[whole:]


_all: weakref.WeakSet[Claims] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for claims in list(_all):
        claims.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
