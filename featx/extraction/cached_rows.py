"""Read the rows of inputs from the cache alone, without the network that made them.

A space names everything that changes a row, the hash of the weights included. So a row in it is the row that
the network would give, whatever is installed here: the network need neither be loaded nor compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.cache import Cache, Space
from featx.extraction.chunks import identify
from featx.extraction.reuse import reuse_store
from featx.forks import uninterrupted
from featx.inputs import Source

#: Inputs whose content is read at a time to find one without a row.
_LOOK = 32


def find_cached_rows(
    sources: Sequence[Source], space: Mapping[str, Any], cache: Any = None
) -> np.ndarray | None:
    """Return the rows (n, dim) of `sources` in `space`, or None if the cache lacks one of them.

    They have the dtype that the space states. Files that the stat cache does not know are read for their
    digest, until one has no row. A source that cannot be read counts as one without a row. `CacheError` if
    the cache cannot be read.
    """
    root = cache if isinstance(cache, Cache) else Cache(cache)
    # The store finds the length of its rows itself: a wrong one in a file would make its shards look damaged.
    store = reuse_store(root, Space(space), None)
    if not len(sources) or not store.path.is_dir():
        return None
    with uninterrupted():
        digests = root.stat_cache.lookup([source.stat_key() for source in sources])
    unknown = [i for i, digest in enumerate(digests) if digest is None]
    if len(unknown) < len(digests) and store.missing([digest for digest in digests if digest is not None]):
        return None
    for start in range(0, len(unknown), _LOOK):
        part = unknown[start : start + _LOOK]
        items = [identify(sources[i]) for i in part]
        if any(item.error is not None for item in items) or store.missing([item.digest for item in items]):
            return None
        with uninterrupted():
            root.stat_cache.store([(item.key, item.digest) for item in items if item.key and item.digest])
        for i, item in zip(part, items, strict=True):
            digests[i] = item.digest
    rows, found = store.read([digest for digest in digests if digest is not None])
    # Damaged rows were set aside with a warning; whoever asks computes them again.
    return rows.astype(space["dtype"], copy=False) if found.all() else None
