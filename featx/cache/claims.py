"""Claims: several processes and threads that need the same rows share out the work.

Before a run computes a row, it claims the row's digest in a file of its own in the space's ``tmp`` folder.
Other runs read these files and leave claimed rows alone until they are committed or their owner is gone. The
owner locks its file as long as it runs, so on the same machine the claims of a killed run are void at once,
and on others, which may not see the lock, when its lease is over (`claim_files`). If a run is stopped or
hangs, another run that waits voids its claims after a time without a new claim or a commit, both of which
change the file's mtime. Claims on committed rows are forgotten, so that memory does not grow with a run.

Claims save work and guard nothing: where a lock is not free in time, or two machines claim at one moment, the
same row is computed twice, and both are right.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from featx.cache.claim_files import CLAIM_NAME, OtherRun, new_claim_name
from featx.cache.identity import DIGEST_SIZE
from featx.durable import host_name

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["CLAIM_NAME", "Claims"]

_LOCK_NAME = "claims.lock"
#: The lock is held for milliseconds; after this many seconds its holder has probably been stopped.
_LOCK_SECONDS = 5.0
#: Bytes of a claim file from which on a new one with only the rows in flight takes its place.
_LONG_FILE = 2**20
#: Seconds after which a run with no news renews its lease, and after which it no longer does: it may hang.
_RENEW_SECONDS = 20.0
_MOST_SILENCE = 600.0
#: The files of other machines are read for this share of the time at most, and for some seconds at first.
_LOOKING_SHARE, _LOOKING_SECONDS = 0.1, 0.5
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
        self._others: dict[str, OtherRun] = {}
        self._shared = fcntl is not None
        self._has_locks = True  # the file system
        self._stalled = False  # the lock was not free in time
        self._shown = 0.0  # time of the last sign of life
        self._began, self._looked = time.monotonic(), 0.0  # seconds of looking at files of other machines
        self._renewing: threading.Thread | None = None
        self._ended = threading.Event()  # of that thread
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
                    free = self._after_others(digests, free)
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
        valid again. Runs of other machines are given at least their lease.
        """
        with self._lock:
            if self._shared:
                with contextlib.suppress(OSError), self._exclusive():
                    self._look()
            silent = [other for other in self._others.values() if not other.void and other.is_silent(seconds)]
            for other in silent:
                other.void = True
        return [str(other) for other in silent]

    def committed(self, digests: Iterable[bytes]) -> None:
        """Forget digests whose rows are on disk now, and show other runs that this one works."""
        with self._lock, contextlib.suppress(OSError):
            self._mine.difference_update(digests)
            if self._file is None or self._path is None:
                return
            os.utime(self._file)
            self._shown = time.monotonic()
            if os.fstat(self._file).st_size > max(_LONG_FILE, 2 * DIGEST_SIZE * len(self._mine)):
                with self._exclusive():
                    old, old_path = self._file, self._path
                    self._file, self._path = self._new_file(list(self._mine))
                    os.close(old)
                    old_path.unlink()

    def renew(self) -> None:
        """Show runs of other machines that this one is there; it does so by itself for some minutes.

        The mtime stays: runs of this machine see by it whether there is news. Where another run has removed
        the file, because it saw none for too long, there is a new one.
        """
        if not self._lock.acquire(blocking=False):  # it is claiming or committing
            return
        try:
            with contextlib.suppress(OSError):
                if self._file is None or self._path is None:
                    return
                if time.monotonic() - self._shown > _MOST_SILENCE:
                    return
                if os.path.exists(self._path):
                    seen = os.fstat(self._file)
                    os.utime(self._file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
                else:
                    old, (self._file, self._path) = self._file, self._new_file(list(self._mine))
                    os.close(old)
        finally:
            self._lock.release()

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
                other.close()
            self._others.clear()
            self._give_back()

    def _give_back(self) -> None:
        if self._file is not None and self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
        self._file = self._path = None
        self._mine.clear()
        if self._renewing is not None:
            self._ended.set()
            self._renewing.join(_LOCK_SECONDS)
            self._renewing = None

    def _claimed(self, digest: bytes, before: str = "") -> bool:
        """Whether another run had claimed it when the files were last read; in a file `before` this name."""
        return any(
            digest in other.claims
            for other in self._others.values()
            if not other.void and (not before or other.name < before)
        )

    def _after_others(self, digests: Sequence[bytes], free: list[bool]) -> list[bool]:
        """Return which digests are still free after a second look, where not all runs see the same lock.

        Another machine may have claimed the same rows between the first look and the claim. Both now see both
        claims, and the one with the later name gives way.
        """
        if self._path is None or all(other.by_lock for other in self._others.values()):
            return free
        self._look()
        before = self._path.name
        return [
            is_free and not self._claimed(digest, before)
            for digest, is_free in zip(digests, free, strict=True)
        ]

    def leave_to_parent(self) -> None:
        """Close what a forked child inherited, or the claims would hold as long as the child runs."""
        self._lock, self._renewing = threading.Lock(), None
        for other in self._others.values():
            with contextlib.suppress(OSError):
                other.close()
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
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
                self._stalled = self._has_locks and not self._locked(file)
            except OSError:
                self._has_locks = False  # the claims of all others hold by lease
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
                self._others[name] = OtherRun(self._folder / name)
        began = time.monotonic()
        has_time = self._looked < _LOOKING_SECONDS + _LOOKING_SHARE * (began - self._began)
        for name, other in list(self._others.items()):
            ended = name not in names
            try:
                if ended := ended or other.has_ended():
                    self._forget(name)
                elif other.by_lock or has_time:
                    other.read_on()
                    # The file is removed so that later runs need not wait; if its owner works after all, it
                    # makes a new one.
                    if not other.by_lock and other.is_silent(0):
                        other.void = ended = True
            except OSError:  # gone, or not readable
                self._forget(name)
            if ended:
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink()
        if not all(other.by_lock for other in self._others.values()):
            self._looked += time.monotonic() - began

    def _forget(self, name: str) -> None:
        self._others.pop(name).close()

    def _write(self, digests: list[bytes]) -> None:
        if not digests:
            return
        if self._file is None:
            self._file, self._path = self._new_file(digests)
        else:
            os.write(self._file, b"".join(digests))
        self._shown = time.monotonic()
        if self._renewing is None:
            self._ended = threading.Event()
            given = weakref.ref(self), self._ended
            renewing = threading.Thread(target=_renew, args=given, name="featx-claims", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: commits show life as well
                renewing.start()
                self._renewing = renewing

    def _new_file(self, digests: list[bytes]) -> tuple[int, Path]:
        unique = uuid.uuid4().hex
        path = self._folder / new_claim_name(unique)
        # Under another name, as others would void a claim file that is not locked yet.
        part = self._folder / f"{unique}.{host_name()}.{os.getpid()}.part"
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            if self._has_locks:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(file, b"".join(digests))
            os.replace(part, path)
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        return file, path


def _renew(claims: weakref.ref[Claims], ended: threading.Event) -> None:
    """Show from time to time that a run works, as long as it does."""
    while not ended.wait(_RENEW_SECONDS):
        alive = claims()
        if alive is None:
            return
        alive.renew()
        del alive


_all: weakref.WeakSet[Claims] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for claims in list(_all):
        claims.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
