"""The one loop: plan what is missing, read and decode, run, commit, resume.

Which images have a row in the cache already is settled first, from the stat cache without opening a file
where that is possible. The others go through worker threads (read, digest, decode, resize) into batches,
through the network, and into the cache in commits of a few MB or at most `COMMIT_SECONDS`. Nothing in here
grows with the number of images but the final array of embeddings.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.cost import recall_cost, remember_cost
from featx.errors import CacheError, ImageError, InputError
from featx.extraction.embedder import Embedder
from featx.features import Failure
from featx.progress import Progress

#: A commit is made when this many bytes of rows wait, or this many seconds have passed.
COMMIT_BYTES = 4 * 2**20
COMMIT_SECONDS = 20.0
#: Images prepared ahead of the network, in batches.
BATCHES_AHEAD = 4


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
    seconds : dict
        ``total`` wall time, and ``forward`` and ``commit`` within it.
    seconds_per_image : float or None
        What a row of this space cost when rows were last computed here, the building of the network not
        counted; None when that is not known.
    mismatch : list of str
        Where the cache had nothing for this space: in what the nearest space that it has differs.
    """

    embeddings: np.ndarray
    kept: np.ndarray
    failures: list[Failure] = field(default_factory=list)
    forward_passes: int = 0
    computed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    seconds_per_image: float | None = None
    mismatch: list[str] = field(default_factory=list)


def embed(
    images: Sequence[Any],
    embedder: Embedder,
    *,
    cache: Any = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Rows:
    """Rows of image sources (`featx.images`), from the cache or through the network.

    What was computed when an error or Ctrl-C ends the loop is committed before it propagates.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    start = time.perf_counter()
    root = cache if isinstance(cache, Cache) else Cache(cache)
    store = root.space(embedder.space, dim=embedder.dim)
    stats = root.stats
    run = _Run(images, embedder, store, stats, on_error, n_jobs or os.cpu_count() or 1, verbose)
    digests = stats.lookup([image.stat_key() for image in images])
    todo = store.missing(digests)
    mismatch = [] if not todo or store.path.exists() else _mismatch(root, embedder, verbose)
    # Damaged shards are found while reading; their rows are then missing and come through once more.
    for _ in range(3):
        run.compute(todo, digests)
        kept = [i for i in range(len(images)) if i not in run.failed]
        rows = np.empty((len(kept), embedder.dim), dtype=embedder.dtype)
        _, found = store.read([digest for i in kept if (digest := digests[i]) is not None], rows)
        todo = [kept[j] for j in np.flatnonzero(~found)]
        if not todo:
            break
        names = ", ".join(images[i].id for i in todo[:5]) + (", ..." if len(todo) > 5 else "")
        warnings.warn(
            f"the cached rows of {_images(len(todo))} were damaged or removed and are extracted again: "
            f"{names}",
            RuntimeWarning,
            stacklevel=2,
        )
    else:
        raise CacheError(
            f"{store.path}: {len(todo)} rows are damaged or gone again right after they were written; the "
            "disk may be failing, or another program clears the cache: try another folder with --cache"
        )
    run.remember_cost()
    return Rows(
        embeddings=rows,
        kept=np.array(kept, dtype=np.int64),
        failures=[run.failed[i] for i in sorted(run.failed)],
        forward_passes=run.passes,
        computed=run.computed,
        seconds={"total": time.perf_counter() - start, "forward": run.forward, "commit": run.commit},
        seconds_per_image=recall_cost(store.path),
        mismatch=mismatch,
    )


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def _mismatch(cache: Cache, embedder: Embedder, verbose: bool) -> list[str]:
    """Why nothing of the cache can be used, when little differs; shown when `verbose`."""
    near = cache.nearest(embedder.space) if embedder.is_network else None
    if near is None or len(near[1]) > 3:  # so much that it is no slip
        return []
    if verbose:
        print(f"cache: no rows yet ({'; '.join(near[1])})", file=sys.stderr)
    return near[1]


class _Run:
    """State of one call of `embed`."""

    def __init__(self, images, embedder, store, stats, on_error, n_jobs, verbose):
        self.images, self.embedder, self.store, self.stats = images, embedder, store, stats
        self.on_error, self.n_jobs, self.verbose = on_error, n_jobs, verbose
        self.failed: dict[int, Failure] = {}
        self.engine: Callable[[np.ndarray], np.ndarray] | None = None
        self.passes = self.computed = 0
        self.forward = self.commit = self.elapsed = 0.0

    def remember_cost(self) -> None:
        """Keeps what an image cost, for runs that find all rows in the cache."""
        if self.computed:
            remember_cost(self.store.path, self.elapsed / self.computed)

    def compute(self, todo: list[int], digests: list[bytes | None]) -> None:
        """Puts the row of every image of `todo` into the store; fills `digests` on the way."""
        if not todo:
            return
        done: set[bytes] = set()  # committed by this call
        batch: dict[bytes, np.ndarray] = {}  # digest -> pixels that wait for the network
        rows: dict[bytes, np.ndarray] = {}  # digest -> row that waits for a commit
        seen: list[tuple[tuple, bytes]] = []
        last_commit = time.monotonic()
        began = time.perf_counter()

        def flush() -> None:
            nonlocal last_commit
            began = time.perf_counter()
            if rows:
                self.store.publish(list(rows), np.stack(list(rows.values())))
                self.store.refresh()  # what another process has committed need not be computed here
                done.update(rows)
                rows.clear()
            if seen:
                self.stats.store(seen)
                seen.clear()
            last_commit = time.monotonic()
            self.commit += time.perf_counter() - began

        with Progress(len(todo), "extracting", enabled=self.verbose) as progress:
            try:
                for i, key, digest, pixels, error in self._prepared(todo, done):
                    progress.update()
                    if error is not None:
                        if self.on_error == "raise":
                            raise error
                        self.failed[i] = Failure(error.id, error.reason)
                        continue
                    digests[i] = digest
                    if key is not None:
                        seen.append((key, digest))
                    if pixels is None or digest in rows or digest in batch:
                        continue
                    if not (done or rows or batch):
                        self.store.prepare()  # a place that cannot be written is known before any work
                    batch[digest] = pixels
                    if len(batch) >= self.embedder.batch_size:
                        self._forward(batch, rows)
                    waiting = len(rows) * self.embedder.dim * 4
                    if waiting >= COMMIT_BYTES or time.monotonic() - last_commit > COMMIT_SECONDS:
                        flush()
                if batch:
                    self._forward(batch, rows)
            except ImageError:
                if batch:  # prepared before the bad image: not to be lost by it
                    self._forward(batch, rows)
                raise
            finally:
                flush()
                self.elapsed += time.perf_counter() - began

    def _forward(self, batch: dict[bytes, np.ndarray], rows: dict[bytes, np.ndarray]) -> None:
        began = time.perf_counter()
        if self.engine is None:
            self.engine = self.embedder.make_engine()
            self.elapsed -= time.perf_counter() - began
            began = time.perf_counter()
        out = self.engine(np.stack(list(batch.values())))
        self.forward += time.perf_counter() - began
        finite = np.isfinite(out).all(axis=1)
        if not finite.all():
            raise InputError(
                f"the backbone gave non-finite values for {int((~finite).sum())} of {len(out)} images "
                f"(precision {self.embedder.space.fields['precision']}); use fp32 or other weights"
            )
        rows.update(zip(batch, self._stored(out), strict=True))
        self.computed += len(batch)
        if self.embedder.is_network:
            self.passes += len(batch)
        batch.clear()

    def _stored(self, out: np.ndarray) -> np.ndarray:
        """Rows in the dtype in which they are kept."""
        with np.errstate(over="ignore"):
            stored = out.astype(self.embedder.dtype, copy=False)
        if not np.isfinite(stored).all():
            raise InputError(
                f"an embedding has the value {np.abs(out).max():.3g}, too large for "
                f"{self.embedder.dtype}; use float32"
            )
        return stored

    def _prepared(self, todo: list[int], done: set[bytes]) -> Iterator[tuple]:
        """Yields (position, stat key, digest, pixels or None when the row is known, error), in order."""
        window = self.n_jobs + BATCHES_AHEAD * self.embedder.batch_size
        waiting: deque[Future] = deque()
        pool = ThreadPoolExecutor(self.n_jobs, thread_name_prefix="featx-decode")
        try:
            for i in todo:
                waiting.append(pool.submit(self._prepare, i, done))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, i: int, done: set[bytes]) -> tuple:
        image = self.images[i]
        try:
            # The key is taken before the bytes: a file that changes in between gets a key of the past,
            # which will not match again, rather than a wrong digest under its new key.
            key = image.stat_key()
            content = image.read()
            digest = content.digest
            pixels = (
                None
                if digest in done or self.store.holds(digest)
                else self.embedder.preprocessing(content.image())
            )
        except ImageError as error:
            return i, None, None, None, error
        return i, key, digest, pixels, None
