"""The rows of one embedder, and the state in which they are while a run brings them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import read_cost
from featx.data.features import Failure
from featx.extraction.embedder import Embedder
from featx.extraction.parity_check import CheckedEngine
from featx.extraction.profile import Profile
from featx.extraction.row_store import RowStore


@dataclass
class Rows:
    """Rows of some images and what it took to get them.

    Attributes
    ----------
    embeddings : numpy.ndarray
        (n_readable, dim), in the order of the images; float32, or float16 where the embedder says so.
    kept : numpy.ndarray
        int64 (n_readable,), positions of the images that could be read.
    failures : list of Failure
        The others, with reasons.
    forward_passes : int
        Images sent through a network in this call.
    profile : Profile
        Where the time of computing went.
    seconds : dict
        ``total`` wall time.
    seconds_per_image : float or None
        What a row of this space cost when rows were last computed here, the building of the network not
        counted; None when that is not known.
    mismatch : list of str
        Where the cache had nothing for this space: in what the nearest space that it has differs.
    embedder : Embedder
        Whose space the rows are in: the one asked for, or one of its fallbacks.
    parity : dict
        How near the engine came to plain fp32 (`featx.engines.Parity`), and ``on`` which images: the
        reference images, or for 64 new rows or more the collection. Empty when nothing was computed.
    """

    embeddings: np.ndarray
    kept: np.ndarray
    embedder: Embedder
    failures: list[Failure] = field(default_factory=list)
    forward_passes: int = 0
    computed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    seconds_per_image: float | None = None
    mismatch: list[str] = field(default_factory=list)
    profile: Profile = field(default_factory=Profile)
    parity: dict[str, Any] = field(default_factory=dict)


class EmbedderRun:
    """One embedder of a run: where its rows are kept, and the engine that computes them."""

    def __init__(self, cache: Cache, embedder: Embedder) -> None:
        self.cache = cache
        self.checked: CheckedEngine | None = None
        self.computed = 0
        self.mismatch: list[str] = []
        self.profile = Profile()
        self.rows: np.ndarray
        self.kept: np.ndarray
        self.embedder = embedder
        self.store = RowStore(cache, embedder)

    def settle(self, embedder: Embedder) -> None:
        """From now on the rows are those of this embedder."""
        self.store.claims.close()
        self.embedder = embedder
        self.store = RowStore(self.cache, embedder)

    def read(self, digests: Sequence[bytes | None], kept: Sequence[int]) -> np.ndarray:
        """Fetch the rows of the images at `kept`; the positions of those that are not there."""
        self.kept = np.array(kept, dtype=np.int64)
        self.rows = np.empty((len(kept), self.embedder.dim), dtype=self.embedder.dtype)
        found = self.store.read([digest for i in kept if (digest := digests[i]) is not None], self.rows)
        return self.kept[~found]

    def result(self, kept: np.ndarray, failures: list[Failure], seconds: dict[str, float]) -> Rows:
        """What came out, for the images that all members could read."""
        rows = self.rows
        if len(kept) < len(self.kept):
            rows = rows[np.isin(self.kept, kept)]
        return Rows(
            embeddings=rows,
            kept=kept,
            embedder=self.embedder,
            failures=failures,
            forward_passes=self.computed if self.embedder.is_network else 0,
            computed=self.computed,
            seconds=seconds,
            seconds_per_image=read_cost(self.store.path),
            mismatch=self.mismatch,
            profile=self.profile,
            parity=self.checked.parity if self.checked is not None else {},
        )
