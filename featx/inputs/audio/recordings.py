"""Recordings on disk of which segments are taken: each is read and hashed once, and decoded where it lies.

All is kept per process, in bounded memory, and forgotten in a forked child. A recording that changes is
another one: everything is kept by the state of the file.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import BinaryIO

from featx.cache.identity import digest_file
from featx.forks import fresh_in_child
from featx.inputs.audio.reader import Reader, open_reader

StatKey = tuple[str, int, int, int]

#: Files whose digests are kept.
_MOST_DIGESTS = 4096
#: Readers that are kept open.
_MOST_READERS = 8
#: A file that changed less than this before it is read may change again without a trace (FAT: 2 s).
_SETTLED_NS = 2 * 10**9

_CHANGED = "it changed while it was read; try again when it is complete"

_digests: OrderedDict[StatKey, bytes] = OrderedDict()
_readers: list[tuple[StatKey, Reader]] = []
_lock = fresh_in_child(threading.Lock())
#: Threads that need the digest of one file wait for the first; those of other files mostly do not.
_hashing = [fresh_in_child(threading.Lock()) for _ in range(16)]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording on disk, in the state in which it was hashed."""

    key: StatKey

    def open(self) -> BinaryIO:
        """Open the file; `OSError` where it has changed."""
        file = open_recording(self.key[0])
        if _state(file.fileno()) != self.key[1:]:
            file.close()
            raise OSError(_CHANGED)
        return file

    def take_reader(self, start: float, id: str) -> Reader:
        """Return an open reader that can go to second `start`, to be given back with `keep_reader`."""
        with _lock:
            fitting = [i for i, (key, r) in enumerate(_readers) if key == self.key and r.reaches(start)]
            taken = _readers.pop(max(fitting, key=lambda i: _readers[i][1].at))[1] if fitting else None
        return open_reader(self.open(), id) if taken is None else taken

    def keep_reader(self, reader: Reader) -> None:
        """Keep a reader open for the next segment; the one that was used least recently is closed.

        `OSError` where the file has changed since it was hashed.
        """
        if _state(reader.fileno()) != self.key[1:]:
            reader.close()
            raise OSError(_CHANGED)
        with _lock:
            _readers.append((self.key, reader))
            surplus = _readers.pop(0)[1] if len(_readers) > _MOST_READERS else None
        if surplus is not None:
            surplus.close()


def open_recording(path: str) -> BinaryIO:
    """Open a file to read; without waiting, if a pipe has taken its place."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb", buffering=0)
    return file  # type: ignore[return-value]


def digest_of(key: StatKey) -> bytes | None:
    """Return the digest of a file in the state `key`, None where that is not certain.

    It is not where the file changed a moment ago, or changes while it is read. `OSError` where it cannot be
    read.
    """
    with _hashing[hash(key) % len(_hashing)]:
        with _lock:
            if key in _digests:
                _digests.move_to_end(key)
                return _digests[key]
        if max(key[2:]) > time.time_ns() - _SETTLED_NS:
            return None
        with open_recording(key[0]) as file:
            if _state(file.fileno()) != key[1:]:
                return None
            digest = digest_file(file)
            if _state(file.fileno()) != key[1:]:
                return None
        with _lock:
            _digests[key] = digest
            if len(_digests) > _MOST_DIGESTS:
                _digests.popitem(last=False)
        return digest


def _state(descriptor: int) -> tuple[int, int, int]:
    seen = os.fstat(descriptor)
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def close_readers() -> None:
    """Close the readers that no thread uses: at the end, and in a child, which shares their positions."""
    with _lock:
        closing = [reader for _, reader in _readers]
        _readers.clear()
    for reader in closing:
        reader.close()


atexit.register(close_readers)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=close_readers)
