"""The one loop: plan what is missing, compute, commit, resume.

Which images have a row in the cache already is settled first, from the stat cache without opening a file
where that is possible. The others go through the `pipeline`, and into the cache in commits of a few MB or at
most `COMMIT_SECONDS`. Nothing in here grows with the number of images but what is known of each: a few
hundred bytes.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.cache import Cache, SpaceStore
from featx.cache.notes import recall_cost, remember_cost
from featx.errors import CacheError, ImageError, InputError
from featx.extraction.embedder import Embedder
from featx.extraction.pipeline import READERS, Pipeline, Unit, identify
from featx.extraction.profile import Profile
from featx.extraction.trial import Trusted, calibrate, known_outcome, trusted_engine
from featx.features import Failure
from featx.progress import Progress

#: A commit is made when this many bytes of rows wait, or this many seconds have passed.
COMMIT_BYTES = 4 * 2**20
COMMIT_SECONDS = 20.0
#: The first rows are committed as soon as there are some: what cannot be written is known early.
_FIRST_COMMIT_SECONDS = 1.0
#: Images that are read at a time to see whether any must be computed.
_LOOK = 32


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
        How near the engine came to plain fp32 (`featx.engines.Parity`); empty when nothing was computed.
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
    if n_jobs is not None and (isinstance(n_jobs, bool) or n_jobs < 1):
        raise InputError(f"n_jobs must be a positive whole number or None, got {n_jobs!r}")
    start = time.perf_counter()
    root = cache if isinstance(cache, Cache) else Cache(cache)
    run = _Run(images, root, on_error, n_jobs, verbose)
    digests = root.stats.lookup([image.stat_key() for image in images])
    run.settle(known_outcome(root, embedder, images, digests))
    new = not os.path.exists(run.store.path)
    todo = run.plan(digests)
    mismatch = _mismatch(root, run.embedder, verbose) if todo and new else []
    # Damaged shards are found while reading; their rows are then missing and come through once more.
    for _ in range(3):
        run.compute(todo, digests)
        kept = [i for i in range(len(images)) if i not in run.failed]
        rows = np.empty((len(kept), run.embedder.dim), dtype=embedder.dtype)
        _, found = run.store.read([digest for i in kept if (digest := digests[i]) is not None], rows)
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
            f"{run.store.path}: {len(todo)} rows are damaged or gone again right after they were written; "
            "the disk may be failing, or another program clears the cache: try another folder with --cache"
        )
    run.remember_cost()
    return Rows(
        embeddings=rows,
        kept=np.array(kept, dtype=np.int64),
        embedder=run.embedder,
        failures=[run.failed[i] for i in sorted(run.failed)],
        forward_passes=run.profile.images if run.embedder.is_network else 0,
        computed=run.profile.images,
        seconds={"total": time.perf_counter() - start},
        seconds_per_image=recall_cost(run.store.path),
        mismatch=mismatch,
        profile=run.profile,
        parity=run.trusted.parity if run.trusted is not None else {},
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

    def __init__(
        self, images: Sequence[Any], cache: Cache, on_error: str, n_jobs: int | None, verbose: bool
    ) -> None:
        self.images, self.cache, self.stats = images, cache, cache.stats
        self.on_error, self.n_jobs, self.verbose = on_error, n_jobs, verbose
        self.failed: dict[int, Failure] = {}
        self.trusted: Trusted | None = None
        self.profile = Profile()
        self.embedder: Embedder
        self.store: SpaceStore

    def settle(self, embedder: Embedder) -> None:
        """From now on the rows are those of this embedder."""
        self.embedder = embedder
        self.store = self.cache.space(embedder.space, dim=embedder.dim)

    def plan(self, digests: list[bytes | None]) -> list[int]:
        """The images to be computed, once it is settled which engine can be trusted with them.

        Another engine may mean another space, in which other rows are missing.
        """
        if self.embedder.needs_calibration:
            began = time.perf_counter()
            self.settle(calibrate(self.cache, self.embedder, self.images))
            self.profile.building += time.perf_counter() - began
        todo = self._to_compute(digests)
        if todo:
            asked = self.embedder.space
            self._trust(todo)
            if self.embedder.space != asked:
                todo = self._to_compute(digests)
        return todo

    def _to_compute(self, digests: list[bytes | None]) -> list[int]:
        """What is missing, from the first image on that must go through the network.

        An image that is new by its path may be an old one by its content, or none at all: while there are
        only such, no network is built. Their digests and failures are noted on the way.
        """
        todo = [i for i in self.store.missing(digests) if i not in self.failed]
        with ThreadPoolExecutor(READERS, thread_name_prefix="featx-read") as readers:
            for start in range(0, len(todo), _LOOK):
                part = todo[start : start + _LOOK]
                seen = list(readers.map(lambda i: identify(self.images[i]), part))
                known = self.store.missing([item.digest for item in seen])
                missing = {part[j] for j in known}
                self.stats.store([(item.key, item.digest) for item in seen if item.key and item.digest])
                for at, (i, item) in enumerate(zip(part, seen, strict=True)):
                    if item.error is None and i in missing:
                        try:
                            self.images[i].read().pixels(self.embedder.preprocessing.reduction)
                        except ImageError as error:
                            item.error = error
                    if item.error is not None:
                        self._refuse(i, item.error)
                    elif i in missing:
                        return todo[start + at :]
                    else:
                        digests[i] = item.digest
        return []

    def _trust(self, todo: list[int]) -> None:
        images = [self.images[i] for i in todo]
        self.trusted = trusted_engine(self.cache, self.embedder, images, len(todo), self.n_jobs)
        self.profile.building += self.trusted.building
        self.profile.comparing += self.trusted.comparing
        if self.trusted.embedder is not self.embedder:
            self.settle(self.trusted.embedder)

    def remember_cost(self) -> None:
        """Keeps what an image cost, for runs that find all rows in the cache."""
        if self.profile.images:
            remember_cost(self.store.path, self.profile.wall / self.profile.images)

    def compute(self, todo: list[int], digests: list[bytes | None]) -> None:
        """Puts the row of every image of `todo` into the store; fills `digests` on the way."""
        if not todo:
            return
        if self.trusted is None:  # every row was there when the plan was made, and some were damaged
            space = self.store.space
            self._trust(todo)
            if self.store.space != space:
                raise CacheError(
                    f"{self.cache.root}: damaged rows cannot be computed as they were, because another "
                    "engine is needed now; run again"
                )
        self.store.prepare()  # a place that cannot be written is known before any work
        assert self.trusted is not None
        engine = self.trusted.engine
        self.profile.engine = {
            "engine": engine.name,
            "device": engine.device,
            "precision": engine.precision,
            "lanes": engine.lanes,
            "batch_size": engine.batch_size,
        }
        pipeline = Pipeline(self.images, self.embedder, engine, self.store.holds, self._threads())
        self.profile.threads, self.profile.device = pipeline.threads, engine.lanes == 0
        commits = _Commits(self.store, self.stats, self.embedder, self.profile)
        units = pipeline.run(todo)
        began = time.perf_counter()
        with Progress(len(todo), "extracting", enabled=self.verbose) as progress:
            try:
                for unit in units:
                    self._take(unit, digests, commits)
                    progress.update(len(unit.items))
            finally:
                units.close()
                for unit in pipeline.rest:  # finished behind the one that failed: not to be lost by it
                    commits.add(unit)
                commits.flush()
                self.profile.wall += time.perf_counter() - began

    def _take(self, unit: Unit, digests: list[bytes | None], commits: _Commits) -> None:
        commits.add(unit)
        for item in unit.items:
            if item.error is None:
                digests[item.position] = item.digest
            else:
                self._refuse(item.position, item.error)

    def _refuse(self, position: int, error: ImageError) -> None:
        if self.on_error == "raise":
            raise error
        self.failed[position] = Failure(error.id, error.reason)

    def _threads(self) -> int:
        from featx.machine import cores

        return self.n_jobs or cores()


class _Commits:
    """Rows and digests that wait until it is worth writing them."""

    def __init__(self, store: SpaceStore, stats: Any, embedder: Embedder, profile: Profile) -> None:
        self._store, self._stats, self._embedder, self._profile = store, stats, embedder, profile
        self._digests: list[bytes] = []
        self._rows: list[np.ndarray] = []
        self._seen: list[tuple[tuple, bytes]] = []
        self._bytes = 0
        self._last = time.monotonic()
        self._wait = _FIRST_COMMIT_SECONDS

    def add(self, unit: Unit) -> None:
        """Take what a unit brought, and write if enough is waiting."""
        self._profile.add(unit.seconds)
        self._seen += [(item.key, item.digest) for item in unit.items if item.key and item.digest]
        if unit.rows is not None:
            rows = _stored(unit.rows, self._embedder.dtype)
            self._digests += unit.digests
            self._rows.append(rows)
            self._bytes += rows.nbytes
            self._profile.images += len(rows)
        if self._bytes >= COMMIT_BYTES or time.monotonic() - self._last > min(self._wait, COMMIT_SECONDS):
            self.flush()
            self._wait = COMMIT_SECONDS

    def flush(self) -> None:
        """Write what is waiting; when this returns it is on the disk."""
        began = time.perf_counter()
        if self._rows:
            self._store.publish(self._digests, np.concatenate(self._rows))
            self._store.refresh()  # what another process has committed need not be computed here
            self._digests, self._rows, self._bytes = [], [], 0
        if self._seen:
            self._stats.store(self._seen)
            self._seen = []
        self._last = time.monotonic()
        self._profile.add({"commit": time.perf_counter() - began})


def _stored(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Rows in the dtype in which they are kept."""
    if dtype == rows.dtype:
        return rows
    with np.errstate(over="ignore"):
        stored = rows.astype(dtype, copy=False)
    if not np.isfinite(stored).all():
        raise InputError(
            f"an embedding has the value {np.abs(rows).max():.3g}, too large for {dtype}; use float32"
        )
    return stored
