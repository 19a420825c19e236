"""Collect rows and digests until a commit to the cache is worth its time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import numpy as np

from featx.cache import Cache
from featx.errors import InputError
from featx.extraction.chunks import Chunk
from featx.extraction.embedder_run import EmbedderRun
from featx.extraction.profile import Profile
from featx.forks import uninterrupted

#: A commit is made when this many bytes of rows are waiting, or this many seconds have passed. The commits of
#: a long run grow with it, up to a limit, so that there are fewer files.
COMMIT_BYTES = 4 * 2**20
COMMIT_SECONDS = 20.0
_GROWTH, _MOST_GROWTH = 1 / 64, 16
#: Inputs that wait at most, where rows are tiny: each also holds a digest and a stat key.
_MOST_WAITING = 1 << 16
#: The first rows are committed soon, so that a folder that cannot be written is found early.
_FIRST_COMMIT_SECONDS = 1.0


class CommitBuffer:
    """Collects the rows of chunks and commits them, many at a time."""

    def __init__(self, cache: Cache, members: Sequence[EmbedderRun], profile: Profile) -> None:
        self._stats, self._members, self._profile = cache.stat_cache, members, profile
        self._waiting: list[tuple[list[bytes], list[np.ndarray]]] = [([], []) for _ in members]
        self._seen: list[tuple[tuple, bytes]] = []
        self._bytes = 0
        self._committed = 0  # bytes
        self._last = time.monotonic()
        self._wait = _FIRST_COMMIT_SECONDS

    def add(self, chunk: Chunk) -> None:
        """Take the rows of a chunk, and commit if enough is waiting."""
        self._profile.add(chunk.seconds)
        if chunk.rows:
            self._profile.images += len(chunk.digests)
            self._profile.longer += chunk.longer
            self._profile.add_silent(chunk.silent)
            self._profile.duration += chunk.duration
        self._seen += [(item.key, item.digest) for item in chunk.items if item.key and item.digest]
        for number, (member, (digests, waiting)) in enumerate(zip(self._members, self._waiting, strict=True)):
            found, rows = chunk.rows_of(number)
            if rows is not None:
                rows = _as_dtype(rows, member.embedder.dtype)
                digests += found
                waiting.append(rows)
                self._bytes += rows.nbytes
                member.computed += len(rows)
        if (
            self._bytes >= min(max(COMMIT_BYTES, self._committed * _GROWTH), COMMIT_BYTES * _MOST_GROWTH)
            or len(self._seen) >= _MOST_WAITING
            or time.monotonic() - self._last > min(self._wait, COMMIT_SECONDS)
        ):
            self.flush()
            self._wait = COMMIT_SECONDS
            for member in self._members:
                member.store.refresh()  # rows that another process has committed need not be computed here

    def save(self, rest: Sequence[Chunk]) -> None:
        """Commit the waiting rows and the valid rows of `rest`."""
        for chunk in rest:
            with contextlib.suppress(InputError):  # the other chunks are kept
                self.add(chunk)
        self.flush()

    def flush(self) -> None:
        """Commit the waiting rows; they are on disk when this returns."""
        began = time.perf_counter()
        for member, (digests, waiting) in zip(self._members, self._waiting, strict=True):
            if waiting:
                member.store.publish(digests, np.concatenate(waiting))
                member.store.claims.committed(digests)
        self._waiting = [([], []) for _ in self._members]
        self._committed += self._bytes
        self._bytes = 0
        if self._seen:
            with uninterrupted():
                self._stats.store(self._seen)
            self._seen = []
        self._last = time.monotonic()
        self._profile.add({"commit": time.perf_counter() - began})


def _as_dtype(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Convert rows to `dtype`; `InputError` if a value is too large for it."""
    if dtype == rows.dtype:
        return rows
    with np.errstate(over="ignore"):
        converted = rows.astype(dtype, copy=False)
    if not np.isfinite(converted).all():
        raise InputError(
            f"an embedding has the value {np.abs(rows).max():.3g}, too large for {dtype}; use float32"
        )
    return converted
