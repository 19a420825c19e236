"""One embedder of a run: the store of its rows, the engine that computes them, and what came out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import read_cost
from featx.data.features import Failure
from featx.extraction.embedder import Embedder
from featx.extraction.parity_check import CheckedEngine
from featx.extraction.profile import Profile
from featx.extraction.row_store import RowStore
from featx.extraction.rows import Rows


class EmbedderRun:
    """What belongs to one embedder while a run computes and reads its rows."""

    def __init__(self, cache: Cache, embedder: Embedder) -> None:
        self.cache, self.embedder = cache, embedder
        self.store = RowStore(cache, embedder)
        self.checked: CheckedEngine | None = None
        self.computed = 0
        self.mismatch: list[str] = []
        self.profile = Profile()
        self.rows: np.ndarray
        self.kept: np.ndarray

    def switch_to(self, embedder: Embedder) -> None:
        """Go on with another embedder, in its space."""
        self.store.claims.close()
        self.embedder = embedder
        self.store = RowStore(self.cache, embedder)

    def read(self, digests: Sequence[bytes | None], kept: Sequence[int]) -> np.ndarray:
        """Read the rows of the inputs at `kept`; return the positions of those that have none."""
        self.kept = np.array(kept, dtype=np.int64)
        self.rows = np.empty((len(kept), self.embedder.dim), dtype=self.embedder.dtype)
        found = self.store.read([digest for i in kept if (digest := digests[i]) is not None], self.rows)
        return self.kept[~found]

    def result(self, kept: np.ndarray, failures: list[Failure], seconds: dict[str, float]) -> Rows:
        """Return the rows of the inputs that could be read for every embedder of the run."""
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
