"""The index of a space in memory: which shards there are, and where each key is.

A dict of a million digests takes 200 MB and a second to build. Sorted arrays, searched for many keys at a
time, take 40 bytes a key. Keys are digests, so their first eight bytes are as good as random: those are
searched, and then the rest of the key is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from featx.cache.identity import DIGEST_SIZE
from featx.cache.shard import Shard

__all__ = ["ROW_BITS", "KeyIndex", "ShardIndex", "as_keys"]

#: A place is one number: that of the shard << ROW_BITS | the row in it.
ROW_BITS = 32
#: Each table of an index has at least this many times the keys of the next smaller one.
_RATIO = 4
#: Keys that are looked up at a time, so that memory does not grow with their number.
_BLOCK = 1 << 16


def as_keys(digests: Sequence[bytes]) -> np.ndarray:
    """Return digests as an array of shape (n, 32), dtype uint8, read-only."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_SIZE)


class KeyIndex:
    """A map from keys to numbers; keys are added and never removed.

    The keys are in sorted tables, each at least `_RATIO` times as large as the next, so that a key that was
    added with few others is moved about ten times until there are millions.
    """

    def __init__(self) -> None:
        self._tables: tuple[_Table, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def add(self, keys: np.ndarray, places: np.ndarray) -> None:
        """Add keys (n, 32), uint8, with places (n,) of at least 0; a known key keeps its place."""
        new = self.find(keys) < 0
        added = _Table.of(keys[new], places[new])
        tables = list(self._tables)
        while tables and len(tables[-1]) < _RATIO * len(added):
            added = tables.pop().merged(added)
        # In one step, so that a thread that searches misses no key meanwhile.
        self._tables = (*tables, added) if len(added) else tuple(tables)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the place of each key (m, 32), int64; -1 for an unknown one."""
        places = np.full(len(keys), -1, dtype=np.int64)
        for table in self._tables:
            for start in range(0, len(keys), _BLOCK):
                block = slice(start, start + _BLOCK)
                places[block] = np.maximum(places[block], table.find(keys[block]))
        return places

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all keys, (n, 32) and ascending, and the place of each."""
        table = _Table.empty()
        for one in reversed(self._tables):
            table = one.merged(table)
        return table.keys(), table.places


class _Table:
    """Unique keys in ascending order: the first eight bytes of each as a number, and the other 24."""

    def __init__(self, prefixes: np.ndarray, tails: np.ndarray, places: np.ndarray) -> None:
        self.prefixes, self.tails, self.places = prefixes, tails, places

    @classmethod
    def empty(cls) -> _Table:
        return cls.of(np.empty((0, DIGEST_SIZE), np.uint8), np.empty(0, np.int64))

    @classmethod
    def of(cls, keys: np.ndarray, places: np.ndarray) -> _Table:
        """Sort keys; one that comes twice keeps its smallest place."""
        prefixes, tails = _prefixes(keys), keys[:, 8:]
        order = np.argsort(prefixes, kind="stable")
        if len(order) > 1 and (np.diff(prefixes[order]) == 0).any():
            # Rare: a key twice, or two keys with the same first bytes. Compare the whole keys.
            words = np.ascontiguousarray(keys).view(">u8")
            order = np.lexsort((places, *words.T[::-1]))
            words = words[order]
            first = np.ones(len(order), dtype=bool)
            first[1:] = (words[1:] != words[:-1]).any(axis=1)
            order = order[first]
        return cls(prefixes[order], tails[order], places[order])

    def __len__(self) -> int:
        return len(self.places)

    def keys(self) -> np.ndarray:
        """Return the keys, (n, 32)."""
        keys = np.empty((len(self), DIGEST_SIZE), np.uint8)
        keys[:, :8] = self.prefixes.astype(">u8").view(np.uint8).reshape(-1, 8)
        keys[:, 8:] = self.tails
        return keys

    def merged(self, other: _Table) -> _Table:
        """Return a table with the keys of both, which have none in common."""
        if not len(self) or not len(other):
            return self if len(self) else other
        at = np.searchsorted(self.prefixes, other.prefixes)
        if (self.prefixes[np.minimum(at, len(self) - 1)] == other.prefixes).any():
            # Rare: other keys with the same first bytes.
            keys = np.concatenate([self.keys(), other.keys()])
            return _Table.of(keys, np.concatenate([self.places, other.places]))
        to = at + np.arange(len(other))
        mine = np.ones(len(self) + len(other), dtype=bool)
        mine[to] = False

        def merge(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
            both = np.empty((len(mine), *ours.shape[1:]), ours.dtype)
            both[mine], both[to] = ours, theirs
            return both

        return _Table(
            merge(self.prefixes, other.prefixes),
            merge(self.tails, other.tails),
            merge(self.places, other.places),
        )

    def find(self, keys: np.ndarray) -> np.ndarray:
        places = np.full(len(keys), -1, dtype=np.int64)
        prefixes = _prefixes(keys)
        at = np.searchsorted(self.prefixes, prefixes)
        pending = np.arange(len(keys))
        while len(pending):  # once, and again only for keys with the same first bytes
            here = at[pending]
            alike = here < len(self)
            alike[alike] = self.prefixes[here[alike]] == prefixes[pending[alike]]
            pending, here = pending[alike], here[alike]
            same = (self.tails[here] == keys[pending, 8:]).all(axis=1)
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
