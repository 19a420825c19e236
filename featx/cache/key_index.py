"""Where each key is: sorted arrays in memory, searched for many keys at a time.

A dict of a million digests takes 200 MB and a second to build; these arrays take 48 bytes a key and are
stored as they are. Keys are digests, so their first eight bytes are as good as random: those are searched,
and then the whole key is compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.cache.identity import DIGEST_SIZE

__all__ = ["KeyIndex", "as_keys"]

_SMALL = 1 << 15
"""Keys that may be in the small table before it is merged into the large one."""


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
        places = self._large.find(keys)
        if len(self._small):
            places = np.maximum(places, self._small.find(keys))
        return places

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return keys of shape (n, 32) in ascending order, and the place of each."""
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
