"""The rows of one space: many shards, found by digest, published durably, by several processes at once.

There is no lock on disk. A shard never changes and is named by its bytes, so writers cannot disturb one
another; at worst two of them do the same work. The keys in the shards say which rows exist; an index file
only saves reading them. A reader that finds a shard gone (compacted, cleared, set aside) looks again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.files import absolute, enough_memory
from featx.cache.identity import DIGEST_SIZE, Space
from featx.cache.publisher import Publisher
from featx.cache.quarantine import Quarantine
from featx.cache.reading import read_rows
from featx.cache.shard_index import as_keys
from featx.cache.snapshot import Snapshot
from featx.durable import settled_stamp
from featx.errors import CacheError

__all__ = ["SpaceStore"]

_READ_ATTEMPTS = 16  # each after the first means that a shard vanished or was set aside meanwhile
_USE_SECONDS = 600.0  # precision with which the last use is noted


class SpaceStore:
    """The rows of one space: which are missing, publish some, read some. Thread-safe.

    Pickles as (root, space, dim); the other process looks at the disk itself. `dim` is the number of values
    per row, by default that of the first shard seen or published. `root`, `path` and `shards` are the folders
    of the cache, of this space and of its shards.
    """

    def __init__(self, root: str | os.PathLike[str], space: Space, dim: int | None = None) -> None:
        self.root = absolute(root)
        self.space = space
        self.path = self.root / space.id
        self.publisher = Publisher(self.root, space)
        self.shards = self.publisher.shards
        self._declared_dim = dim
        self._quarantine = Quarantine(self.shards, self.path / "quarantine", space, self.publisher.write)
        self._begin()
        _stores.add(self)

    def _begin(self) -> None:
        """Set the state to that of a new object, also in a forked child, where the lock may be held."""
        self._snapshot = Snapshot(self.publisher, self._quarantine, self._declared_dim)
        self._lock = threading.RLock()
        self._used = -_USE_SECONDS
        self._caught_up: tuple[int, ...] | None = None  # the folder's stamp when it was last looked at

    def __reduce__(self) -> tuple[Any, ...]:
        return (SpaceStore, (self.root, self.space, self._declared_dim))

    @property
    def dim(self) -> int | None:
        """Values per row; None while it is neither declared nor seen."""
        return self._snapshot.dim

    def missing(self, digests: Sequence[bytes | None]) -> list[int]:
        """Return the positions of the digests without a row on disk, ascending.

        None, for an image that was not read yet, is missing. `CacheError` if a digest is not 32 bytes, or the
        folder cannot be read.
        """
        with enough_memory(self.path):
            given = np.array([digest is not None for digest in digests], dtype=bool)
            keys = _checked_keys([digest for digest in digests if digest is not None])
            if len(keys):
                given[given] = self.holds(keys)
            missing: list[int] = np.flatnonzero(~given).tolist()
            return missing

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Return which digests, given as (n, 32) uint8, have a row on disk: bool of shape (n,)."""
        with enough_memory(self.path), self._lock:
            self.catch_up()
            return self._snapshot.index.holds(keys)

    def held(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return the digests that had a row when the disk was last looked at; any thread may ask.

        Ask for many at a time: for one, a look-up takes as long as for a thousand.
        """
        known = self._snapshot.index.holds(as_keys(digests))
        return {digest for digest, is_known in zip(digests, known.tolist(), strict=True) if is_known}

    def keys(self) -> np.ndarray:
        """Return all digests that have a row on disk, (n, 32) uint8, ascending."""
        with self._lock, enough_memory(self.path):
            self.refresh()
            return self._snapshot.index.items()[0]

    def __contains__(self, digest: bytes) -> bool:
        return not self.missing([digest])

    def __len__(self) -> int:
        with self._lock:
            self.refresh()
            return len(self._snapshot.index)

    def refresh(self) -> None:
        """Look at the disk again, for what others published, compacted or cleared; may raise `CacheError`."""
        with self._lock, enough_memory(self.path):
            self._snapshot.refresh()

    def catch_up(self) -> None:
        """Call `refresh`, but only if the folder has changed since the last `catch_up`."""
        stamp = settled_stamp(self.shards)
        if stamp is None or stamp != self._caught_up:
            self.refresh()
            self._caught_up = stamp

    def shard_paths(self) -> list[Path]:
        """Return the shards that are on disk, by name."""
        return [self.shards / name for name in sorted(self._snapshot.shard_names())]

    def prepare(self) -> None:
        """Create the folders and ``space.json``; `CacheError` if the place cannot be written."""
        self.publisher.prepare()

    def publish(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Store `rows` (n, dim), float32 or float16; when this returns, they survive a power cut.

        If a digest comes twice, its first row is kept. `CacheError` if the arguments do not fit, or the rows
        cannot be written; nothing is left behind then.
        """
        keys = _checked_keys(digests)
        rows = np.asarray(rows)
        if rows.ndim != 2 or len(rows) != len(digests):
            raise CacheError(f"rows of shape {rows.shape} for {len(digests)} digests: expected one row each")
        if rows.dtype not in (np.float32, np.float16):
            raise CacheError(f"rows of dtype {rows.dtype}: expected float32 or float16")
        with self._lock:
            if self._snapshot.dim is None:
                self.refresh()
        if self._snapshot.dim is not None and rows.shape[1] != self._snapshot.dim:
            raise CacheError(f"rows of {rows.shape[1]} values: this space has {self._snapshot.dim}")
        if len(digests) == 0:
            return
        first = {digest: i for i, digest in reversed(list(enumerate(digests)))}
        keep = np.sort(np.fromiter(first.values(), dtype=np.int64, count=len(first)))
        with enough_memory(self.path):
            path = self.publisher.write(keys[keep], rows[keep])
        self._note_use()
        with self._lock, enough_memory(self.path):
            self._snapshot.add(path.name)

    def copy(self, source: Path) -> int:
        """Copy a shard of the same space from another cache; return its bytes. Errors as `Publisher.copy`."""
        with enough_memory(self.path):
            path, size = self.publisher.copy(source)
        with self._lock, enough_memory(self.path):
            self._snapshot.add(path.name)
        return size

    def read(
        self, digests: Sequence[bytes] | np.ndarray, out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rows by digest, each checked against its CRC, and which were found.

        Parameters
        ----------
        digests : sequence of n bytes, or ndarray of shape (n, 32), uint8
            In any order, repeats allowed.
        out : ndarray of shape (n, dim), floating, optional
            Receives the rows; default: a new float32 array.

        Returns
        -------
        rows : ndarray of shape (n, dim)
            NaN where there is no row. ``dim`` is 0 while it is not known.
        found : ndarray of shape (n,), bool
            False where there is no row, or it was damaged: extract that image again.
        """
        with enough_memory(self.path):
            return self._read(_checked_keys(digests), out)

    def _read(self, keys: np.ndarray, out: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        found, mine = np.zeros(len(keys), dtype=bool), False
        self._note_use()
        for attempt in range(_READ_ATTEMPTS):
            pending = np.flatnonzero(~found)
            with self._lock:
                plan = list(self._snapshot.index.locate(keys[pending]))
                if attempt == 0 and sum(len(positions) for _, positions, _ in plan) < len(keys):
                    self.refresh()
                    plan = list(self._snapshot.index.locate(keys))
            if not plan:
                break
            if out is None or (mine and out.shape[1] != self._snapshot.dim):  # a forged index may have lied
                out, mine = np.empty((len(keys), plan[0][0].dim), dtype=np.float32), True
            if out.shape != (len(keys), self._snapshot.dim):
                raise CacheError(f"out has shape {out.shape}: expected {(len(keys), self._snapshot.dim)}")
            plan = [(shard, pending[positions], rows) for shard, positions, rows in plan]
            all_there, damaged = True, {}
            for shard, positions, good, damage in read_rows(plan, out, keys):
                found[positions] = good
                all_there &= bool(good.all())
                if damage is not None:
                    damaged[shard.path] = damage
            if all_there:
                break
            for path, reason in damaged.items():
                self.set_aside(path, reason)
            with self._lock:
                self._snapshot.distrust()
                self.refresh()
        if out is None:
            out = np.empty((len(keys), self._snapshot.dim or 0), dtype=np.float32)
        if not found.all():
            out[~found] = np.nan
        return out, found

    def set_aside(self, path: Path, reason: str) -> None:
        """Take a damaged shard out of use, keep its intact rows, and warn; an intact one stays."""
        with self._lock:
            self._snapshot.set_aside(path, reason)

    def _note_use(self) -> None:
        """Record the time of use as the mtime of ``space.json``."""
        if time.monotonic() - self._used >= _USE_SECONDS:
            self._used = time.monotonic()
            with contextlib.suppress(OSError):  # read-only, or not there yet
                self.publisher.describe()
                os.utime(self.path / "space.json")

    def __repr__(self) -> str:
        return f"SpaceStore({str(self.root)!r}, {self.space.id[:12]})"


def _checked_keys(digests: Sequence[bytes] | np.ndarray) -> np.ndarray:
    if isinstance(digests, np.ndarray):
        if digests.shape[1:] != (DIGEST_SIZE,) or digests.dtype != np.uint8:
            raise CacheError(f"digests of shape {digests.shape}, {digests.dtype}: expected (n, 32), uint8")
        return digests
    if not (set(map(type, digests)) <= {bytes} and set(map(len, digests)) <= {DIGEST_SIZE}):
        for i, digest in enumerate(digests):
            if not isinstance(digest, bytes) or len(digest) != DIGEST_SIZE:
                got = f"{len(digest)} bytes" if isinstance(digest, bytes) else type(digest).__name__
                raise CacheError(f"digest {i} is {got}: expected {DIGEST_SIZE} bytes")
    return as_keys(digests)


_stores: weakref.WeakSet[SpaceStore] = weakref.WeakSet()


def _begin_in_child() -> None:
    for store in list(_stores):
        store._begin()


if hasattr(os, "register_at_fork"):
    # A thread of the parent may have held a lock, or been half-way through a change, at the fork.
    os.register_at_fork(after_in_child=_begin_in_child)
