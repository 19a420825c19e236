"""The index of a space in memory: which shards there are, and where each key is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from featx.cache.key_index import KeyIndex
from featx.cache.shard import Shard

__all__ = ["ROW_BITS", "ShardIndex"]

#: A place is one number: that of the shard << ROW_BITS | the row in it.
ROW_BITS = 32


class ShardIndex:
    """Shards and the keys in them. Shards are added; to forget one, begin a new index.

    Parameters
    ----------
    shards : sequence of Shard
        What an index file says there is, in the order of their numbers.
    keys : ndarray of shape (n, 32), dtype uint8, optional
        Their keys, unique and ascending.
    places : ndarray of shape (n,), dtype int64, optional
        Shard number << 32 | row of each key.

    Attributes
    ----------
    names : set of str
        File names of the shards.
    n_indexed : int
        How many of the shards are in the index file.
    """

    def __init__(
        self, shards: Sequence[Shard] = (), keys: np.ndarray | None = None, places: np.ndarray | None = None
    ) -> None:
        self.shards = list(shards)
        self._keys = KeyIndex()
        if keys is not None and places is not None:
            self._keys.add(keys, places)
        self.names = {shard.path.name for shard in self.shards}
        self.n_indexed = len(self.shards)

    def __len__(self) -> int:
        """Number of distinct keys."""
        return len(self._keys)

    def add(self, shards: Iterable[tuple[Shard, np.ndarray]]) -> None:
        """Add shards with their keys, of shape (n_rows, 32)."""
        keys, places = [], []
        for shard, its_keys in shards:
            base = len(self.shards) << ROW_BITS
            self.shards.append(shard)
            self.names.add(shard.path.name)
            keys.append(its_keys)
            places.append(np.arange(base, base + len(its_keys), dtype=np.int64))
        if keys:
            self._keys.add(np.concatenate(keys), np.concatenate(places))

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Return which of the keys, of shape (m, 32), are known: bool of shape (m,)."""
        return self._keys.find(keys) >= 0

    def locate(self, keys: np.ndarray) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Find keys, of shape (m, 32), shard by shard; those that are not known are left out.

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
            yield self.shards[number], part, places[part] & (2**ROW_BITS - 1)

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all keys, of shape (n, 32) and ascending, and the place of each."""
        return self._keys.items()
