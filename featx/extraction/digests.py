"""The digests of the inputs of a run, as far as they are known, in 32 bytes an input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from featx.cache import DIGEST_SIZE, Cache
from featx.cache.shard_index import as_keys
from featx.forks import uninterrupted
from featx.inputs import Source
from featx.inputs.states import stat_keys

#: Inputs that are looked up in the stat cache at a time: of millions, the keys are never held together.
BLOCK = 8192


class Digests(Sequence[bytes | None]):
    """The digests of `n` inputs, each None until it is known.

    ``keys`` (n, 32) uint8 has zeros where the digest is not known; no content has that digest.
    """

    def __init__(self, n: int) -> None:
        self.keys = np.zeros((n, DIGEST_SIZE), np.uint8)

    @classmethod
    def look_up(cls, cache: Cache, sources: Sequence[Source]) -> Digests:
        """Return the digests that the stat cache knows."""
        digests = cls(len(sources))
        for block in blocks(len(sources), BLOCK):
            keys = stat_keys(list(sources[block]), cache.stat_cache.knows)
            with uninterrupted():
                found = cache.stat_cache.lookup(keys)
            known = [i for i, digest in enumerate(found, block.start) if digest is not None]
            digests.put(known, [digest for digest in found if digest is not None])
        return digests

    def put(self, positions: Sequence[int], digests: Sequence[bytes]) -> None:
        """Note the digests of the inputs at `positions`."""
        if len(positions):
            self.keys[positions] = as_keys(digests)

    def list(self, positions: np.ndarray) -> list[bytes]:
        """Return the digests of the inputs at `positions`, which are known."""
        return [key.tobytes() for key in self.keys[positions]]

    def unknown(self) -> np.ndarray:
        """Return the positions of the inputs whose digest is not known, ascending."""
        return np.flatnonzero(~self.keys.any(axis=1))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> bytes | None:  # type: ignore[override]
        key = self.keys[position]
        return key.tobytes() if key.any() else None


def blocks(n: int, size: int) -> Iterator[slice]:
    """Yield the slices of `size` that cover `n` items; the last may be shorter."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
