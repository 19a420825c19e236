"""One embedder of a run: the store of its rows, the engine that computes them, and the rows it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import read_cost
from featx.data.features import Failure
from featx.extraction.digests import Digests
from featx.extraction.embedder import Embedder
from featx.extraction.parity_check import CheckedEngine
from featx.extraction.profile import Profile
from featx.extraction.row_store import RowStore


@dataclass
class Rows:
    """Rows of some inputs, by one embedder.

    Attributes
    ----------
    embeddings : ndarray of shape (n_readable, dim)
        In the order of the inputs; float32, or float16 where the embedder says so. No rows where they were
        handed over in blocks.
    kept : ndarray of shape (n_readable,), int64
        Positions of the inputs that could be read.
    embedder : Embedder
        The embedder that gave the rows: the one asked for, or one of its fallbacks.
    failures : list of Failure
        The inputs that could not be read, with reasons.
    forward_passes : int
        Inputs that went through a network in this call.
    computed : int
        Rows that were computed in this call.
    seconds : dict
        ``total`` wall time.
    seconds_per_image : float or None
        Cost of a row when rows of this space were last computed here, without building the network; None if
        it is not known.
    mismatch : list of str
        If the cache had no rows of this space: how it differs from the nearest space in the cache.
    profile : Profile
        Time of each stage of computing.
    parity : dict
        How near the engine is to plain fp32 (`featx.engines.Parity`), and ``on``: the inputs compared, which
        are reference inputs or, for at least 64 new rows, the collection. Empty if nothing was computed.
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
    """State of one embedder while a run computes and reads its rows."""

    def __init__(self, cache: Cache, embedder: Embedder) -> None:
        self.cache, self.embedder = cache, embedder
        self.store = RowStore(cache, embedder)
        self.checked: CheckedEngine | None = None
        self.computed = 0
        self.mismatch: list[str] = []
        self.profile = Profile()
        self.rows = np.empty((0, embedder.dim), dtype=embedder.dtype)
        self.kept = np.empty(0, dtype=np.int64)
        self._buffer = self.rows

    def switch_to(self, embedder: Embedder) -> None:
        """Replace the embedder, and continue in its space."""
        self.store.claims.close()
        self.embedder = embedder
        self.store = RowStore(self.cache, embedder)

    def read(self, digests: Digests, kept: np.ndarray) -> np.ndarray:
        """Read the rows of the inputs at `kept` into `rows`; return the positions of those that have none.

        The memory of the rows of the last call is used again.
        """
        if len(self._buffer) < len(kept) or self._buffer.shape[1] != self.embedder.dim:
            self._buffer = np.empty((len(kept), self.embedder.dim), dtype=self.embedder.dtype)
        self.kept, self.rows = kept, self._buffer[: len(kept)]
        found = self.store.read(digests.keys[kept], self.rows)
        return kept[~found]

    def drop_rows(self) -> None:
        """Forget the rows that were read: somebody else has them."""
        self.rows = self._buffer = self._buffer[:0]

    def result(self, kept: np.ndarray, failures: list[Failure], seconds: dict[str, float]) -> Rows:
        """Return the rows of the inputs that could be read for every embedder of the run."""
        rows = self.rows
        if len(rows) and len(kept) < len(self.kept):
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
