"""What is known in memory about the shards of a space: which there are, and where each key is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from featx.cache.index_file import ROW_BITS, StoredIndex
from featx.cache.key_index import KeyIndex
from featx.cache.shard import Shard

__all__ = ["Catalogue"]


class Catalogue:
    """Shards and the keys in them. Shards are added; to forget one, begin a new catalogue.

    Parameters
    ----------
    stored : StoredIndex, optional
        What an index file says, to begin with.

    Attributes
    ----------
    names : set of str
        File names of the shards.
    indexed : int
        How many of the shards came from the index file.
    """

    def __init__(self, stored: StoredIndex | None = None) -> None:
        self._shards: list[Shard] = []
        self._keys = KeyIndex()
        if stored is not None:
            self._shards = list(stored.shards)
            self._keys.add(stored.keys, stored.places)
        self.names = {shard.path.name for shard in self._shards}
        self.indexed = len(self._shards)

    def __len__(self) -> int:
        """Number of distinct keys."""
        return len(self._keys)

    @property
    def shards(self) -> list[Shard]:
        """The shards, in the order in which they were added."""
        return list(self._shards)

    def add(self, shards: Iterable[tuple[Shard, np.ndarray]]) -> None:
        """Enter shards with their keys, of shape (n_rows, 32)."""
        keys, places = [], []
        for shard, its_keys in shards:
            base = len(self._shards) << ROW_BITS
            self._shards.append(shard)
            self.names.add(shard.path.name)
            keys.append(its_keys)
            places.append(np.arange(base, base + len(its_keys), dtype=np.int64))
        if keys:
            self._keys.add(np.concatenate(keys), np.concatenate(places))

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Which of the keys, of shape (m, 32), are known: bool of shape (m,)."""
        return self._keys.find(keys) >= 0

    def located(self, keys: np.ndarray) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Where keys are, shard by shard; those that are not known are left out.

        Parameters
        ----------
        keys : ndarray of shape (m, 32), dtype uint8

        Yields
        ------
        shard : Shard
        positions : ndarray of shape (k,), int64
            Ascending indices into `keys`.
        rows : ndarray of shape (k,), int64
            The row of each in the shard.
        """
        places = self._keys.find(keys)
        positions = np.flatnonzero(places >= 0)
        numbers = places[positions] >> ROW_BITS
        order = np.argsort(numbers, kind="stable")
        positions, numbers = positions[order], numbers[order]
        bounds = np.flatnonzero(np.diff(numbers)) + 1
        for part in np.split(positions, bounds) if len(positions) else ():
            number = int(places[part[0]] >> ROW_BITS)
            yield self._shards[number], part, places[part] & (2**ROW_BITS - 1)

    def keys(self) -> np.ndarray:
        """All keys, of shape (n, 32), ascending."""
        return self._keys.items()[0]

    def stored(self) -> StoredIndex:
        """What an index file should say."""
        return StoredIndex(self.shards, *self._keys.items())
