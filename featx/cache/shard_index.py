"""The index of a space in memory: which shards there are, and where each key is.

A dict of a million digests takes 200 MB and a second to build. Sorted arrays, searched for many keys at a
time, take 48 bytes a key and are stored as they are. Keys are digests, so their first eight bytes are as good
as random: those are searched, and then the whole key is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from featx.cache.identity import DIGEST_SIZE
from featx.cache.shard import Shard

__all__ = ["ROW_BITS", "KeyIndex", "ShardIndex", "as_keys"]

#: A place is one number: that of the shard << ROW_BITS | the row in it.
ROW_BITS = 32
#: Keys that may be in the small table before it is merged into the large one.
_SMALL = 1 << 15


def as_keys(digests: Sequence[bytes]) -> np.ndarray:
    """Return digests as an array of shape (n, 32), dtype uint8, read-only."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_SIZE)


class KeyIndex:
    """A map from keys to numbers; keys are added and never removed.

    Two sorted tables: a large one, and a small one for what came since, so that adding a thousand keys to a
    million costs a thousand. The small one is merged when it exceeds a quarter of the large one.
    """

    def __init__(self) -> None:
        self._large = self._small = _Table.empty()

    def __len__(self) -> int:
        return len(self._large) + len(self._small)

    def add(self, keys: np.ndarray, places: np.ndarray) -> None:
        """Add keys (n, 32), uint8, with places (n,) of at least 0; a known key keeps its place."""
        if len(self):
            new = self.find(keys) < 0
            keys, places = keys[new], places[new]
        if len(self._small) + len(keys) <= max(_SMALL, len(self._large) // 4):
            self._small = self._small.merged(keys, places)
        else:
            keys = np.concatenate([self._small.keys, keys])
            places = np.concatenate([self._small.places, places])
            self._large, self._small = self._large.merged(keys, places), _Table.empty()

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the place of each key (m, 32), int64; -1 for an unknown one."""
        # In this order: `add` replaces the large table first, so that a thread misses no key meanwhile.
        small, large = self._small, self._large
        places = large.find(keys)
        if len(small):
            places = np.maximum(places, small.find(keys))
        return places

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all keys, (n, 32) and ascending, and the place of each."""
        table = self._large.merged(self._small.keys, self._small.places) if len(self._small) else self._large
        return table.keys, table.places


class _Table:
    """Unique keys in ascending order."""

    def __init__(self, keys: np.ndarray, places: np.ndarray, prefixes: np.ndarray) -> None:
        self.keys, self.places, self._prefixes = keys, places, prefixes

    @classmethod
    def empty(cls) -> _Table:
        return cls(np.empty((0, DIGEST_SIZE), np.uint8), np.empty(0, np.int64), np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.places)

    def merged(self, keys: np.ndarray, places: np.ndarray) -> _Table:
        """Return a table with these keys too; a key that comes twice keeps its smallest place."""
        if len(self):
            keys, places = np.concatenate([self.keys, keys]), np.concatenate([self.places, places])
        prefixes = _prefixes(keys)
        order = np.argsort(prefixes)
        ordered = prefixes[order]
        if (ordered[1:] == ordered[:-1]).any():
            # Rare: a key twice, or two keys with the same first bytes. Compare the whole keys.
            words = np.ascontiguousarray(keys).view(">u8")
            order = np.lexsort((places, *words.T[::-1]))
            words = words[order]
            first = np.ones(len(order), dtype=bool)
            first[1:] = (words[1:] != words[:-1]).any(axis=1)
            order = order[first]
            ordered = prefixes[order]
        return _Table(keys[order], places[order], ordered)

    def find(self, keys: np.ndarray) -> np.ndarray:
        places = np.full(len(keys), -1, dtype=np.int64)
        prefixes = _prefixes(keys)
        at = np.searchsorted(self._prefixes, prefixes)
        pending = np.arange(len(keys))
        while len(pending):  # once, and again only for keys with the same first bytes
            here = at[pending]
            alike = here < len(self)
            alike[alike] = self._prefixes[here[alike]] == prefixes[pending[alike]]
            pending, here = pending[alike], here[alike]
            same = (self.keys[here] == keys[pending]).all(axis=1)
            places[pending[same]] = self.places[here[same]]
            pending = pending[~same]
            at[pending] += 1
        return places


def _prefixes(keys: np.ndarray) -> np.ndarray:
    words: np.ndarray = np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
    return words


class ShardIndex:
    """Shards and the keys in them. Shards are added; to forget one, begin a new index.

    The arguments are what an index file says: the shards in the order of their numbers, and their keys (n,
    32) with their places (n,). ``names`` are the file names of the shards, ``n_indexed`` how many of them are
    in the index file.
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
        """Find keys (m, 32) shard by shard; yield (shard, positions in `keys`, their rows in the shard).

        Positions ascend; unknown keys are left out.
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
