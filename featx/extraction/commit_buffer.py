"""Rows on their way to the disk: when it is worth writing them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import numpy as np

from featx.cache import Cache
from featx.errors import InputError
from featx.extraction.chunks import Chunk
from featx.extraction.profile import Profile
from featx.extraction.rows import EmbedderRun
from featx.forks import uninterrupted

#: A commit is made when this many bytes of rows wait, or this many seconds have passed.
COMMIT_BYTES = 4 * 2**20
COMMIT_SECONDS = 20.0
#: The first rows are committed as soon as there are some: what cannot be written is known early.
_FIRST_COMMIT_SECONDS = 1.0


class CommitBuffer:
    """Rows and digests that wait until it is worth writing them."""

    def __init__(self, cache: Cache, members: Sequence[EmbedderRun], profile: Profile) -> None:
        self._stats, self._members, self._profile = cache.stat_cache, members, profile
        self._waiting: list[tuple[list[bytes], list[np.ndarray]]] = [([], []) for _ in members]
        self._seen: list[tuple[tuple, bytes]] = []
        self._bytes = 0
        self._last = time.monotonic()
        self._wait = _FIRST_COMMIT_SECONDS

    def add(self, unit: Chunk) -> None:
        """Take what a unit brought, and write if enough is waiting."""
        self._profile.add(unit.seconds)
        self._profile.images += len(unit.digests) if unit.rows else 0
        self._seen += [(item.key, item.digest) for item in unit.items if item.key and item.digest]
        for number, (member, (digests, kept)) in enumerate(zip(self._members, self._waiting, strict=True)):
            found, rows = unit.rows_of(number)
            if rows is not None:
                rows = _stored(rows, member.embedder.dtype)
                digests += found
                kept.append(rows)
                self._bytes += rows.nbytes
                member.computed += len(rows)
        if self._bytes >= COMMIT_BYTES or time.monotonic() - self._last > min(self._wait, COMMIT_SECONDS):
            self.flush()
            self._wait = COMMIT_SECONDS

    def save(self, rest: Sequence[Chunk]) -> None:
        """Write what is waiting and what else was finished, as far as it can be kept."""
        for unit in rest:
            with contextlib.suppress(InputError):  # of another unit; rows that are good are kept
                self.add(unit)
        self.flush()

    def flush(self) -> None:
        """Write what is waiting; when this returns it is on the disk."""
        began = time.perf_counter()
        for member, (digests, kept) in zip(self._members, self._waiting, strict=True):
            if kept:
                member.store.publish(digests, np.concatenate(kept))
                member.store.claims.show_life()
                member.store.refresh()  # what another process has committed need not be computed here
        self._waiting = [([], []) for _ in self._members]
        self._bytes = 0
        if self._seen:
            with uninterrupted():
                self._stats.store(self._seen)
            self._seen = []
        self._last = time.monotonic()
        self._profile.add({"commit": time.perf_counter() - began})


def _stored(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Rows in the dtype in which they are kept."""
    if dtype == rows.dtype:
        return rows
    with np.errstate(over="ignore"):
        stored = rows.astype(dtype, copy=False)
    if not np.isfinite(stored).all():
        raise InputError(
            f"an embedding has the value {np.abs(rows).max():.3g}, too large for {dtype}; use float32"
        )
    return stored
