"""The forward passes of prepared chunks: in the worker thread that prepared them, or on a device."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from featx.errors import FeatxError, InputError
from featx.extraction.chunks import Chunk, Prepared
from featx.extraction.pieces import Pieces, varies
from featx.inputs import Preparation

#: Waits for the rows of a batch on a device, and returns them.
PendingRows = Callable[[], np.ndarray]

#: Batches that a device has at a time.
_IN_FLIGHT = 2
#: Chunks that wait to fill one batch for a device, if most of them have nothing to compute.
_MOST_WAITING = 256
#: Batches that are filled at a time where lengths vary, so that each has inputs of about one length.
_BATCHES_SORTED = 8
#: Bytes of inputs that are enough to fill batches, even if there are fewer than these.
_BYTES_SORTED = 64 * 2**20


def compute_rows(chunk: Chunk, engines: Sequence[Any], preparation: Preparation) -> None:
    """Compute the rows of a chunk in this thread."""
    if chunk.prepared is None:
        return
    began = time.perf_counter()
    for number, engine in enumerate(engines):
        prepared = chunk.prepared_for(number)
        rows = None if prepared is None else _run_batches(engine, prepared, preparation)
        chunk.rows.append(rows)
    chunk.drop_prepared()
    chunk.spend("forward", began)


class DeviceFeed:
    """Feeds prepared chunks to engines on a device, several chunks in one batch.

    Attributes
    ----------
    rest : list of Chunk
        Chunks that were computed but not yielded when the run ended.
    """

    def __init__(self, engines: Sequence[Any], preparation: Preparation) -> None:
        self._engines, self._preparation = engines, preparation
        self.rest: list[Chunk] = []

    def run(self, prepared: Generator[Chunk]) -> Generator[Chunk]:
        """Yield the chunks with their rows, in order; close `prepared` at the end."""
        submitted: deque[tuple[list[Chunk], list[PendingRows | None]]] = deque()
        computed: deque[Chunk] = deque()
        waiting: list[Chunk] = []
        count = size = 0  # inputs in `waiting`, and their bytes where they differ in size
        most = min(engine.batch_size for engine in self._engines)
        if varies(self._preparation):
            most *= _BATCHES_SORTED
        try:
            for chunk in prepared:
                full = count + len(chunk.digests) > most or size >= _BYTES_SORTED
                if waiting and (full or len(waiting) >= _MOST_WAITING):
                    submitted.append((waiting, self._submit(waiting)))
                    waiting, count, size = [], 0, 0
                waiting.append(chunk)
                count += len(chunk.digests)
                if isinstance(chunk.prepared, list):
                    size += sum(one.nbytes for one in chunk.prepared)
                if len(submitted) > _IN_FLIGHT:
                    computed += self._fetch(*submitted.popleft())
                while computed:
                    yield computed.popleft()
            if waiting:
                submitted.append((waiting, self._submit(waiting)))
            while submitted or computed:
                if not computed:
                    computed += self._fetch(*submitted.popleft())
                yield computed.popleft()
        finally:
            prepared.close()
            self.rest += computed
            for batch in submitted:
                # Rows that a failing device still gives are kept; the error that ended the run is raised.
                with contextlib.suppress(RuntimeError, FeatxError):
                    self.rest += self._fetch(*batch)

    def _submit(self, chunks: Sequence[Chunk]) -> list[PendingRows | None]:
        """Start one batch of some chunks on each engine, and free their prepared inputs."""
        began = time.perf_counter()
        pending: list[PendingRows | None] = []
        for number, engine in enumerate(self._engines):
            parts = [part for chunk in chunks if (part := chunk.prepared_for(number)) is not None]
            pending.append(self._start(engine, parts) if parts else None)
        chunks[0].spend("forward", began)
        for chunk in chunks:
            chunk.drop_prepared()
        return pending

    def _start(self, engine: Any, parts: list[Any]) -> PendingRows:
        """Start to compute the rows of some parts of a batch."""
        if not varies(self._preparation):
            pending: PendingRows = engine.submit(parts)
            return pending
        prepared = [one for part in parts for one in part]
        pieces = Pieces(prepared, self._preparation, engine)
        tickets = [engine.submit([batch]) for batch in pieces.batches]
        return lambda: pieces.join([ticket() for ticket in tickets])

    def _fetch(self, chunks: list[Chunk], pending: Sequence[PendingRows | None]) -> list[Chunk]:
        """Wait for a batch, and distribute its rows to its chunks."""
        began = time.perf_counter()
        for number, (wait, engine) in enumerate(zip(pending, self._engines, strict=True)):
            rows = None if wait is None else _require_finite(wait(), engine, self._preparation)
            at = 0
            for chunk in chunks:
                count = len(chunk.wanted[number])
                chunk.rows.append(rows[at : at + count] if rows is not None and count else None)
                at += count
        chunks[0].spend("forward", began)
        return chunks


def _run_batches(engine: Any, prepared: Prepared, preparation: Preparation) -> np.ndarray:
    """Return the rows of prepared inputs, computed one batch at a time."""
    if varies(preparation):
        pieces = Pieces(list(prepared), preparation, engine)
        found = pieces.join([engine(batch) for batch in pieces.batches])
    else:
        size = engine.batch_size
        rows = [engine(prepared[i : i + size]) for i in range(0, len(prepared), size)]
        found = rows[0] if len(rows) == 1 else np.concatenate(rows)
    return _require_finite(found, engine, preparation)


def _require_finite(rows: np.ndarray, engine: Any, preparation: Preparation) -> np.ndarray:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(
            f"the backbone gave non-finite values for {int((~finite).sum())} of {len(rows)} "
            f"{preparation.kind}s (precision {engine.precision}); use fp32 or other weights"
        )
    return rows
