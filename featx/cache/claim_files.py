"""The claim files of other runs: what they claim, and whether they are still at work.

A run of this machine is at work as long as it holds the lock of its file. A run of another machine may hold a
lock that is not seen here (NFS without locks, SMB, FUSE), so its claims hold by lease: they are void once the
file has not changed for `LEASE_SECONDS`, by the clock of the reader alone. Once such a lock was seen, it
counts, too, and the end of the run is known at once. Where nothing can be locked, all claims hold by lease.
"""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

from featx.cache.identity import DIGEST_SIZE
from featx.durable import boot_digits, host_name

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["CLAIM_NAME", "LEASE_SECONDS", "OtherRun", "new_claim_name"]

#: A claim file, or the file that is locked while claims are read and written.
CLAIM_NAME = re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9-]*\.\d+\.claim|claims\.lock")

#: A run of another machine shows that it works every 20 seconds (`featx.cache.claims`), and NFS may show the
#: state of a file 60 seconds late.
LEASE_SECONDS = 120.0


def new_claim_name(unique: str) -> str:
    """Return the name of a claim file of this process; the host ends in digits that no other machine has."""
    return f"{unique}.{host_name()[:31]}-{boot_digits()}.{os.getpid()}.claim"


class OtherRun:
    """The claim file of another run, open."""

    def __init__(self, path: Path) -> None:
        """Open the file; `OSError` if it is gone, cannot be opened, or is no regular file."""
        self._path = path
        self._file: int | None = None
        self._open()
        _, host, self._pid, _ = path.name.split(".")
        self._host, _, digits = host.rpartition("-")
        #: Whether its lock says if it runs, because it is of this machine and there are locks.
        self.by_lock = digits == boot_digits()
        if host == host_name():  # of an earlier version of featx, on this machine
            self.by_lock, self._host = True, host
        self.claims: set[bytes] = set()
        self.void = False
        self.last_sign = time.monotonic()
        self._lock_was_seen = False
        self._at = 0
        self._rest = b""
        self._changed: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"process {self._pid} on {self._host or 'another machine'}"

    @property
    def name(self) -> str:
        """The name of the file."""
        return self._path.name

    def _open(self) -> None:
        file = os.open(self._path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError("no regular file")
        self.close()
        self._file = file

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def has_ended(self) -> bool:
        """Whether its lock, which it holds while it runs, is free; False where locks say nothing."""
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_was_seen = True
            return False
        except OSError:  # a file system without locks
            self.by_lock = False
            return False
        if self.by_lock or self._lock_was_seen:
            return True
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return False

    def read_on(self) -> None:
        """Read new claims, and note whether the owner has shown a sign of life; `OSError` if it is gone.

        The file of another machine is opened again: only then does NFS ask the server for its state.
        """
        if not self.by_lock:
            self._open()
        assert self._file is not None
        status = os.fstat(self._file)
        changed: tuple[int, ...] = (status.st_size, status.st_mtime_ns)
        if not self.by_lock:  # a run that is at work, but has no news, changes only this
            changed = (*changed, status.st_ctime_ns)
        if self._changed != changed:
            self._changed = changed
            self.last_sign, self.void = time.monotonic(), False
        while chunk := os.pread(self._file, 1 << 20, self._at):
            self._at += len(chunk)
            data = self._rest + chunk
            whole = len(data) - len(data) % DIGEST_SIZE
            self.claims.update(data[i : i + DIGEST_SIZE] for i in range(0, whole, DIGEST_SIZE))
            self._rest = data[whole:]

    def is_silent(self, seconds: float) -> bool:
        """Whether it has shown no sign of life for so long, or, of another machine, for its lease."""
        patience = seconds if self.by_lock else max(seconds, LEASE_SECONDS)
        return time.monotonic() - self.last_sign >= patience
