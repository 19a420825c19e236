"""The one loop: plan what is missing, compute, commit, resume.

Which images have a row in the cache already is settled first, from the stat cache without opening a file
where that is possible. The others go through the `pipeline`, and into the cache in commits of a few MB or at
most `COMMIT_SECONDS`. Nothing in here grows with the number of images but what is known of each: a few
hundred bytes.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import read_cost, write_cost
from featx.data.features import Failure
from featx.errors import CacheError, ImageError
from featx.extraction.calibration import calibrate
from featx.extraction.chunks import Chunk, identify
from featx.extraction.commit_buffer import COMMIT_SECONDS, CommitBuffer
from featx.extraction.embedder import Embedder
from featx.extraction.parity_check import apply_decisions, check_engine
from featx.extraction.pipeline import READERS, Pipeline
from featx.extraction.profile import Profile
from featx.extraction.reuse import return_engine
from featx.extraction.rows import EmbedderRun, Rows
from featx.forks import uninterrupted
from featx.options import check_options
from featx.progress import Progress
from featx.terminal import tell

#: Images that are read at a time to see whether any must be computed.
_LOOK = 32
#: Images whose mean time is worth more than what was noted before.
_WORTH_REMEMBERING = 32
#: Between two looks at whether others have committed what they claimed.
_WAIT_SECONDS = 0.05
#: A run that shows no sign of life for so long, and as long as some batches take, is not waited for.
_PATIENCE_SECONDS = 1.5 * COMMIT_SECONDS
_MOST_PATIENCE_SECONDS = 600.0
_PATIENCE_BATCHES = 8
#: Times that what is missing is computed; each one after the first means that rows were damaged or removed.
_ROUNDS = 8


def embed(
    images: Sequence[Any],
    embedder: Embedder,
    *,
    cache: Any = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Rows:
    """Rows of image sources (`featx.inputs.image`), from the cache or through the network.

    What was computed when an error or Ctrl-C ends the loop is committed before it propagates.
    """
    return embed_together(images, [embedder], cache=cache, on_error=on_error, n_jobs=n_jobs, verbose=verbose)[
        0
    ]


def embed_together(
    images: Sequence[Any],
    embedders: Sequence[Embedder],
    *,
    cache: Any = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
) -> list[Rows]:
    """Rows of the same images by several embedders, each image decoded once for those that prepare it alike.

    Parameters
    ----------
    images : sequence of sources
    embedders : sequence of Embedder
    cache, on_error, n_jobs, verbose
        As in `featx.extract`.

    Returns
    -------
    list of Rows
        In the order of `embedders`; all of the same images, those that could be read for every one of them.
        Those that went through the pipeline together share a profile.
    """
    check_options(cache=cache, on_error=on_error, n_jobs=n_jobs, verbose=verbose)
    n_jobs = None if n_jobs == -1 else n_jobs  # as scikit-learn says all cores
    start = time.perf_counter()
    root = cache if isinstance(cache, Cache) else Cache(cache)
    keys = [image.stat_key() for image in images]
    with uninterrupted():
        digests = root.stat_cache.lookup(keys)
    failed: dict[int, Failure] = {}
    groups: dict[str, list[int]] = {}
    for i, embedder in enumerate(embedders):
        groups.setdefault(repr(embedder.preprocessing), []).append(i)
    found: dict[int, EmbedderRun] = {}
    for numbers in groups.values():
        run = _Run(images, root, digests, failed, on_error, n_jobs, verbose)
        try:
            members = run.complete([embedders[i] for i in numbers])
        finally:
            run.close()
        found.update(zip(numbers, members, strict=True))
    kept = np.array([i for i in range(len(images)) if i not in failed], dtype=np.int64)
    failures = [failed[i] for i in sorted(failed)]
    seconds = {"total": time.perf_counter() - start}
    return [found[i].result(kept, failures, seconds) for i in range(len(embedders))]


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def _mismatch(cache: Cache, embedder: Embedder, verbose: bool) -> list[str]:
    """Why nothing of the cache can be used, when little differs; shown when `verbose`."""
    near = cache.nearest(embedder.space) if embedder.is_network else None
    if near is None or len(near[1]) > 3:  # so much that it is no slip
        return []
    if verbose:
        tell(f"cache: no rows yet ({'; '.join(near[1])})")
    return near[1]


class _Run:
    """Some embedders that prepare images alike, and what is known of the images so far."""

    def __init__(
        self,
        images: Sequence[Any],
        cache: Cache,
        digests: list[bytes | None],
        failed: dict[int, Failure],
        on_error: str,
        n_jobs: int | None,
        verbose: bool,
    ) -> None:
        self.images, self.cache, self.digests, self.failed = images, cache, digests, failed
        self.on_error, self.n_jobs, self.verbose = on_error, n_jobs, verbose
        self.profile = Profile()
        self.members: list[EmbedderRun] = []

    def close(self) -> None:
        """No row is claimed any longer."""
        for member in self.members:
            member.store.claims.close()

    def complete(self, embedders: Sequence[Embedder]) -> list[EmbedderRun]:
        """All rows of all embedders, computed where they are not in the cache."""
        for asked in embedders:
            decided = apply_decisions(self.cache, asked, self.images, self.digests)
            self.members.append(EmbedderRun(self.cache, decided))
        new = [not os.path.exists(member.store.path) for member in self.members]
        todo = self._plan()
        for member, is_new in zip(self.members, new, strict=True):
            if todo and is_new:
                member.mismatch = _mismatch(self.cache, member.embedder, self.verbose)
        # Damaged shards are found while reading; their rows are then missing and come through once more. From
        # then on rows are kept in memory too, so that only those of other runs can be missing again.
        for _ in range(_ROUNDS):
            self._compute(todo)
            kept = [i for i in range(len(self.images)) if i not in self.failed]
            todo = sorted({int(i) for member in self.members for i in member.read(self.digests, kept)})
            if not todo:
                break
            names = ", ".join(self.images[i].id for i in todo[:5]) + (", ..." if len(todo) > 5 else "")
            warnings.warn(
                f"the cached rows of {_images(len(todo))} were damaged or removed and are extracted again: "
                f"{names}",
                RuntimeWarning,
                stacklevel=4,
            )
            for member in self.members:
                member.store.keep_rows()
        else:
            raise CacheError(
                f"{self.members[0].store.path}: {len(todo)} rows are damaged or gone again right after they "
                "were written; the disk may be failing, or another program clears the cache: try another "
                "folder with --cache"
            )
        for member in self.members:
            member.profile = self.profile
            # Of a handful it would say what starting cost, unless nothing better is known.
            if member.computed and (
                self.profile.images >= _WORTH_REMEMBERING or read_cost(member.store.path) is None
            ):
                write_cost(member.store.path, self.profile.wall / self.profile.images)
            if member.checked is not None and member.checked.key is not None:
                return_engine(member.checked.key, member.checked.engine)
        return self.members

    def _missing(self) -> list[int]:
        """Images of which any member lacks the row."""
        lacking = {i for member in self.members for i in member.store.missing(self.digests)}
        return sorted(i for i in lacking if i not in self.failed)

    def _plan(self) -> list[int]:
        """The images to be computed, once it is settled which engines compute them.

        Another engine may mean another space, in which other rows are missing.
        """
        for member in self.members:
            if member.embedder.needs_calibration:
                began = time.perf_counter()
                member.settle(calibrate(self.cache, member.embedder, self.images))
                self.profile.building += time.perf_counter() - began
        todo = self._to_compute()
        if todo and self._check_engines(todo):
            todo = self._to_compute()
        return todo

    def _to_compute(self) -> list[int]:
        """What is missing, from the first image on that must go through a network.

        An image that is new by its path may be an old one by its content, or none at all: while there are
        only such, no network is built. Their digests and failures are noted on the way.
        """
        todo = self._missing()
        reduction = self.members[0].embedder.preprocessing.reduction
        with _readers(len(todo)) as read_all:
            for start in range(0, len(todo), _LOOK):
                part = todo[start : start + _LOOK]
                seen = list(read_all(identify, [self.images[i] for i in part]))
                contents = [item.digest for item in seen]
                missing = {part[j] for member in self.members for j in member.store.missing(contents)}
                with uninterrupted():
                    self.cache.stat_cache.store(
                        [(item.key, item.digest) for item in seen if item.key and item.digest]
                    )
                for at, (i, item) in enumerate(zip(part, seen, strict=True)):
                    if item.error is None and i in missing:
                        try:
                            self.images[i].read().pixels(reduction)
                        except ImageError as error:
                            item.error = error
                    if item.error is not None:
                        self._refuse(i, item.error)
                    elif i in missing:
                        return todo[start + at :]
                    else:
                        self.digests[i] = item.digest
        return []

    def _check_engines(self, todo: list[int]) -> bool:
        """An engine for every member that lacks rows of `todo`; whether one went to another space."""
        moved = False
        for member in self.members:
            lacking = member.store.missing([self.digests[i] for i in todo])
            if not lacking:
                continue
            new = [todo[j] for j in lacking]
            checked = check_engine(self.cache, member.embedder, self.images, new, self.n_jobs)
            member.checked = checked
            self.profile.building += checked.building
            self.profile.comparing += checked.comparing
            if checked.embedder is not member.embedder:
                moved |= checked.embedder.space != member.embedder.space
                member.settle(checked.embedder)
        return moved

    def _compute(self, todo: list[int]) -> None:
        """Puts the row of every image of `todo` into every shelf that lacks it, or sees it put there."""
        if not todo:
            return
        # Without an engine every row was there when the plan was made, and some were damaged.
        if all(member.checked is None for member in self.members) and self._check_engines(todo):
            raise CacheError(
                f"{self.cache.root}: damaged rows cannot be computed as they were, because another "
                "engine is needed now; run again"
            )
        working = [member for member in self.members if member.checked is not None]
        if not working:  # another run has committed all of it since the plan was made
            return
        for member in working:
            member.store.prepare()  # a place that cannot be written is known before any work
        with Progress(len(todo), "extracting", enabled=self.verbose) as progress:
            while todo:
                todo = self._others_left(working, self._pass(todo, working, progress), progress)

    def _pass(self, todo: list[int], working: list[EmbedderRun], progress: Any) -> list[dict[int, bytes]]:
        """Once through the pipeline; what was left to others, for each member."""
        engines = [member.checked.engine for member in working if member.checked is not None]
        pipeline = Pipeline(
            self.images,
            working[0].embedder.preprocessing,
            engines,
            [member.store for member in working],
            self._threads(),
        )
        self.profile.engine = _described(engines)
        self.profile.threads, self.profile.device = pipeline.threads, engines[0].workers == 0
        commits = CommitBuffer(self.cache, working, self.profile)
        units = pipeline.run(todo)
        began = time.perf_counter()
        try:
            for unit in units:
                self._take(unit, commits)
                progress.update(len(unit.items))
        finally:
            try:
                units.close()
                commits.save(pipeline.rest)  # finished behind the one that failed: not to be lost by it
            finally:
                for member in working:
                    member.store.claims.drop_all()
                self.profile.wall += time.perf_counter() - began
        return pipeline.elsewhere

    def _others_left(
        self, working: list[EmbedderRun], elsewhere: list[dict[int, bytes]], progress: Any
    ) -> list[int]:
        """Wait for the rows that other runs have claimed; those that they gave up are to be computed here.

        So are those of a run that shows no sign of life, because it was stopped or hangs.
        """
        patience = [self._patience(member) for member in working]
        while True:
            left: set[int] = set()
            waiting = False
            for member, others, seconds in zip(working, elsewhere, patience, strict=True):
                if others:
                    member.store.refresh()
                    if silent := member.store.claims.void_silent(seconds):
                        warnings.warn(
                            f"{', '.join(silent)} has claimed rows and shown no sign of life for "
                            f"{seconds:.0f} s; what it leaves undone is computed here",
                            RuntimeWarning,
                            stacklevel=5,
                        )
                for i, digest in list(others.items()):
                    if member.store.holds(digest):
                        del others[i]
                with uninterrupted():
                    free = member.store.claims.free(list(others.values()))
                left |= {i for i, is_free in zip(others, free, strict=True) if is_free}
                waiting |= not all(free)
            if left or not waiting:
                return sorted(left)
            progress.update(0, "waiting for rows that another run computes")
            time.sleep(_WAIT_SECONDS)

    def _patience(self, member: EmbedderRun) -> float:
        """Seconds in which a healthy run claims or commits, if rows cost there what they cost here."""
        if member.checked is None:
            return _PATIENCE_SECONDS
        engine, profile = member.checked.engine, self.profile
        if profile.images:
            cost = sum(spent for stage, spent in profile.stages.items() if stage != "commit") / profile.images
        else:
            cost = max(1, engine.workers) * (read_cost(member.store.path) or 0.0)
        return min(_PATIENCE_SECONDS + _PATIENCE_BATCHES * engine.batch_size * cost, _MOST_PATIENCE_SECONDS)

    def _take(self, unit: Chunk, commits: CommitBuffer) -> None:
        commits.add(unit)
        for item in unit.items:
            if item.error is None:
                self.digests[item.position] = item.digest
            else:
                self._refuse(item.position, item.error)

    def _refuse(self, position: int, error: ImageError) -> None:
        if self.on_error == "raise":
            raise error
        self.failed[position] = Failure(error.id, error.reason)

    def _threads(self) -> int:
        from featx.machine import cores

        return self.n_jobs or cores()


@contextlib.contextmanager
def _readers(count: int) -> Iterator[Callable[..., Any]]:
    """A `map` that reads several files at a time; for one file no thread is worth its start."""
    if count <= 1:
        yield map
        return
    with ThreadPoolExecutor(READERS, thread_name_prefix="featx-read") as readers:
        yield readers.map


def _described(engines: Sequence[Any]) -> dict[str, Any]:
    """What a profile says of the engines: of several, their values side by side."""
    described: dict[str, Any] = {}
    keys = {"name": "engine", "workers": "lanes"}  # as stored profiles name them
    for name in ("name", "device", "precision", "workers", "batch_size"):
        values = list(dict.fromkeys(getattr(engine, name) for engine in engines))
        described[keys.get(name, name)] = values[0] if len(values) == 1 else ", ".join(map(str, values))
    return described
