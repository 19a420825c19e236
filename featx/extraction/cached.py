"""Say whether the cache has the rows of inputs, without building a network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from featx.cache import Cache
from featx.extraction.chunks import identify
from featx.extraction.embedder import Embedder
from featx.extraction.parity_check import apply_decisions
from featx.extraction.row_store import RowStore
from featx.forks import uninterrupted
from featx.inputs import Source


def all_cached(sources: Sequence[Source], embedder: Embedder, cache: Any = None) -> bool:
    """Return whether every readable source has its row in the cache, in each layer of the embedder.

    Files that the stat cache does not know are read, up to the first one without a row.
    """
    root = cache if isinstance(cache, Cache) else Cache(cache)
    with uninterrupted():
        digests = root.stat_cache.lookup([source.stat_key() for source in sources])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the extraction itself warns of another precision
        decided = apply_decisions(root, embedder, sources, digests)
    if decided.needs_calibration:
        return False
    store = RowStore(root, decided)
    if store.missing([digest for digest in digests if digest is not None]):
        return False
    for source, digest in zip(sources, digests, strict=True):
        if digest is None:
            item = identify(source)
            if item.error is None and store.missing([item.digest]):
                return False
    return True
