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
from featx.extraction.digests import Digests, blocks
from featx.extraction.embedder import Embedder
from featx.extraction.parity_check import apply_decisions
from featx.extraction.reuse import reuse_store
from featx.extraction.row_store import RowStore
from featx.forks import uninterrupted
from featx.inputs import Source

#: Inputs whose content is read at a time to find one without a row.
_LOOK = 32


class _Store(Protocol):
    def holds(self, keys: np.ndarray) -> np.ndarray: ...


def all_cached(sources: Sequence[Source], embedder: Embedder, cache: Any = None) -> bool:
    """Return whether every readable source has its row in the cache, in each layer of the embedder.

    Files that the stat cache does not know are read, up to the first one without a row.
    """
    root = cache if isinstance(cache, Cache) else Cache(cache)
    digests = Digests.look_up(root, sources)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the extraction itself warns of another precision
        decided = apply_decisions(root, embedder, sources, digests)
    if decided.needs_calibration:
        return False
    return _identify_all(root, RowStore(root, decided), sources, digests)


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
    digests = Digests.look_up(root, sources)
    if not _identify_all(root, store, sources, digests) or len(digests.unknown()):
        return None
    rows, intact = store.read(digests.keys)
    # Damaged rows were set aside with a warning; the caller computes them again.
    return rows.astype(space["dtype"], copy=False) if intact.all() else None


def _identify_all(root: Cache, store: _Store, sources: Sequence[Source], digests: Digests) -> bool:
    """Note the digest of every source that can be read; return False as soon as a row is missing."""
    unknown = digests.unknown()
    if not store.holds(np.delete(digests.keys, unknown, axis=0)).all():
        return False
    for block in blocks(len(unknown), _LOOK):
        items = [identify(sources[i]) for i in unknown[block].tolist()]
        found = {
            i: item.digest for i, item in zip(unknown[block].tolist(), items, strict=True) if item.digest
        }
        digests.put(list(found), list(found.values()))
        if not store.holds(digests.keys[list(found)]).all():
            return False
        with uninterrupted():
            root.stat_cache.store([(item.key, item.digest) for item in items if item.key and item.digest])
    return True
