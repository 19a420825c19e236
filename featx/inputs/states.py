"""The present states of many sources, by which a cache knows them; remote ones are asked for together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featx.inputs import Source
from featx.places import StatKey

# Sources that are looked at; all of a dataset are mostly of one store.
_LOOKED_AT = 200


def is_remote(source: Source) -> bool:
    """Whether reading a source waits for a network."""
    place: Any = getattr(source, "place", None)
    return place is not None and place.is_remote


def any_remote(sources: Sequence[Source], positions: Sequence[int] | np.ndarray) -> bool:
    """Whether one of some sources, spread over those at `positions`, is remote."""
    some = [sources[i] for i in positions[:: -(-len(positions) // _LOOKED_AT) or 1]]
    return any(map(is_remote, some))


def stat_keys(sources: Sequence[Source], knows: Callable[[str], bool]) -> list[StatKey | None]:
    """Return the stat key of each source; of remote ones, all requests are under way at once.

    `knows` says whether the cache has entries of names with a prefix (`featx.cache.StatCache.knows`).
    """
    sources = list(sources)  # compact ones are made each time that they are asked for
    places = [place for source in sources if (place := getattr(source, "place", None)) is not None]
    files: list[Any] = [place for place in places if getattr(place, "url", None)]
    if files:
        from featx.places.remote import refresh_states

        refresh_states(files, knows)
    return [source.stat_key() for source in sources]
