"""Read, write and claim the rows of an embedder in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from featx.cache import Cache, Claims
from featx.cache.sidecar import ABOUT, read_note, write_note
from featx.extraction.digests import Digests, blocks
from featx.extraction.embedder import Embedder
from featx.extraction.reuse import reuse_store

#: Digests that are looked up at a time, so that memory does not grow with their number.
_BLOCK = 1 << 16


class RowStore:
    """The spaces of one embedder's layers as if they were one: a row exists when all layers' parts do.

    Notes about all layers are kept in `path`, the folder of the first layer's space.
    """

    def __init__(self, cache: Cache, embedder: Embedder) -> None:
        self._stores = [
            reuse_store(cache, space, dim) for space, dim in zip(embedder.spaces, embedder.dims, strict=True)
        ]
        ends = list(accumulate(embedder.dims, initial=0))
        self._columns = [slice(a, b) for a, b in pairwise(ends)]
        self.path: Path = self._stores[0].path
        self.claims = Claims(self.path / "tmp")
        self._kept: dict[bytes, np.ndarray] | None = None

    def missing(self, digests: Sequence[bytes | None]) -> list[int]:
        """Return the positions of the digests that have no row on disk now, ascending."""
        if len(self._stores) == 1:
            return self._stores[0].missing(digests)
        return sorted({i for store in self._stores for i in store.missing(digests)})

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Return which digests, given as (n, 32) uint8, have a row on disk now: bool of shape (n,)."""
        return np.logical_and.reduce([store.holds(keys) for store in self._stores])

    def lacking(self, positions: np.ndarray, digests: Digests) -> np.ndarray:
        """Return those of `positions` (m,) whose input has no row on disk now."""
        held = [self.holds(digests.keys[positions[block]]) for block in blocks(len(positions), _BLOCK)]
        return positions[~np.concatenate(held)] if held else positions

    def held(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return the digests that had a row at the last look at the disk; thread-safe."""
        return set.intersection(*(store.held(digests) for store in self._stores))

    def refresh(self) -> None:
        """Find rows that other processes have committed."""
        for store in self._stores:
            store.catch_up()

    def prepare(self) -> None:
        """Create the folders; `CacheError` if they cannot be written."""
        for store in self._stores:
            store.prepare()

    def describe(self, about: dict[str, str]) -> None:
        """Note what is known of the network and changes no number; there is a note only if something is."""
        for store in self._stores:
            if about and read_note(store.path, ABOUT) != about:
                write_note(store.path, ABOUT, about)

    def keep_rows(self) -> None:
        """Keep rows that are committed from now on in memory too, because the disk loses rows."""
        if self._kept is None:
            self._kept = {}

    def publish(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Commit rows; parts that a layer has already are not written again."""
        if self._kept is not None:
            self._kept.update(zip(digests, rows, strict=True))
        for store, at in zip(self._stores, self._columns, strict=True):
            held = store.held(digests)
            lacking = [i for i, digest in enumerate(digests) if digest not in held]
            if len(lacking) == len(digests):
                store.publish(digests, rows[:, at])
            else:
                store.publish([digests[i] for i in lacking], rows[lacking, at])

    def read(self, keys: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Read the rows of digests (n, 32) into `out` (n, dim); return which were intact, (n,) bool."""
        found = np.ones(len(keys), dtype=bool)
        for store, at in zip(self._stores, self._columns, strict=True):
            if len(self._stores) == 1:
                found = store.read(keys, out)[1]  # the common case: no copy
                break
            part = np.empty((len(keys), at.stop - at.start), out.dtype)
            found &= store.read(keys, part)[1]
            out[:, at] = part
        kept = self._kept or {}
        for i in np.flatnonzero(~found).tolist() if kept else ():
            if (row := kept.get(keys[i].tobytes())) is not None:
                out[i], found[i] = row, True
        return found
