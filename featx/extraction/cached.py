"""Find the rows of inputs in the cache, without building the network that made them.

A space names everything that changes a row, the hash of the weights included. So a row in it is the row that
the network would give, whatever is installed here: the network need neither be loaded nor compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from featx.cache import Cache, Space
from featx.extraction.chunks import identify
from featx.extraction.embedder import Embedder
from featx.extraction.parity_check import apply_decisions
from featx.extraction.reuse import reuse_store
from featx.extraction.row_store import RowStore
from featx.forks import uninterrupted
from featx.inputs import Source
from featx.inputs.states import stat_keys

#: Inputs whose content is read at a time to find one without a row.
_LOOK = 32


class _Store(Protocol):
    def missing(self, digests: Sequence[bytes | None]) -> list[int]: ...


def all_cached(sources: Sequence[Source], embedder: Embedder, cache: Any = None) -> bool:
    """Return whether every readable source has its row in the cache, in each layer of the embedder.

    Files that the stat cache does not know are read, up to the first one without a row.
    """
    root = cache if isinstance(cache, Cache) else Cache(cache)
    digests = _look_up(root, sources)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the extraction itself warns of another precision
        decided = apply_decisions(root, embedder, sources, digests)
    if decided.needs_calibration:
        return False
    return _identify_all(root, RowStore(root, decided), sources, digests) is not None


def find_cached_rows(
    sources: Sequence[Source], space: Mapping[str, Any], cache: Any = None
) -> np.ndarray | None:
    """Return the rows (n, dim) of `sources` in `space`, or None if the cache lacks one of them.

    They have the dtype that the space states. Files that the stat cache does not know are read for their
    digest, up to the first one without a row. A source that cannot be read has none. `CacheError` if the
    cache cannot be read.
    """
    root = cache if isinstance(cache, Cache) else Cache(cache)
    # The store finds the length of its rows itself: a wrong one in a file would make its shards look damaged.
    store = reuse_store(root, Space(space), None)
    if not len(sources) or not store.path.is_dir():
        return None
    found = _identify_all(root, store, sources, _look_up(root, sources))
    digests = [digest for digest in found or () if digest is not None]
    if len(digests) < len(sources):
        return None
    rows, intact = store.read(digests)
    # Damaged rows were set aside with a warning; the caller computes them again.
    return rows.astype(space["dtype"], copy=False) if intact.all() else None


def _look_up(root: Cache, sources: Sequence[Source]) -> list[bytes | None]:
    """Return the digests that the stat cache knows, None for the others."""
    with uninterrupted():
        return root.stat_cache.lookup(stat_keys(sources, root.stat_cache.knows))


def _identify_all(
    root: Cache, store: _Store, sources: Sequence[Source], known: Sequence[bytes | None]
) -> list[bytes | None] | None:
    """Return the digest of every source, None for one that cannot be read; None if a row is missing."""
    if store.missing([digest for digest in known if digest is not None]):
        return None
    digests = list(known)
    unknown = [i for i, digest in enumerate(digests) if digest is None]
    for start in range(0, len(unknown), _LOOK):
        part = unknown[start : start + _LOOK]
        items = [identify(sources[i]) for i in part]
        readable = [(i, item) for i, item in zip(part, items, strict=True) if item.error is None]
        if store.missing([item.digest for _, item in readable]):
            return None
        with uninterrupted():
            root.stat_cache.store([(x.key, x.digest) for _, x in readable if x.key and x.digest])
        for i, item in readable:
            digests[i] = item.digest
    return digests
