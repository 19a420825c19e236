"""A run: find out which rows are missing, compute them, commit them, and read all rows from the cache.

Which inputs have a row in the cache already is settled first, from the stat cache without opening a file
where that is possible. The others go through the `pipeline`, and into the cache in commits of a few MB or at
most `COMMIT_SECONDS`. Nothing here grows with the number of inputs but what is known of each: a few hundred
bytes.
"""

from __future__ import annotations

import contextlib
import json
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
from featx.errors import CacheError, SourceError
from featx.extraction.calibration import calibrate
from featx.extraction.chunks import Chunk, identify
from featx.extraction.commit_buffer import CommitBuffer
from featx.extraction.embedder import Embedder
from featx.extraction.embedder_run import EmbedderRun
from featx.extraction.other_runs import wait_for_others
from featx.extraction.parity_check import apply_decisions, check_engine
from featx.extraction.pipeline import READERS, Pipeline
from featx.extraction.profile import Profile, stage_times
from featx.extraction.reuse import return_engine
from featx.extraction.rows import Rows
from featx.forks import uninterrupted
from featx.inputs import Source
from featx.options import check_options
from featx.progress import Progress
from featx.terminal import tell

#: Inputs that are read at a time to see whether any must be computed.
_LOOK = 32
#: Number of inputs whose mean time is worth more than what was noted before.
_WORTH_REMEMBERING = 32
#: Times that what is missing is computed; each one after the first means that rows were damaged or removed.
_ROUNDS = 8


def embed(
    sources: Sequence[Source],
    embedder: Embedder,
    *,
    cache: Any = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Rows:
    """Return the rows of sources (`featx.inputs.Source`), from the cache or through the network.

    What was computed when an error or Ctrl-C ends the run is committed before the error propagates.
    """
    options: dict[str, Any] = {"cache": cache, "on_error": on_error, "n_jobs": n_jobs, "verbose": verbose}
    return embed_together(sources, [embedder], **options)[0]


def embed_together(
    sources: Sequence[Source],
    embedders: Sequence[Embedder],
    *,
    cache: Any = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
) -> list[Rows]:
    """Return the rows of the same sources by several embedders; those that prepare alike share the work.

    Parameters
    ----------
    sources : sequence of Source
    embedders : sequence of Embedder
    cache, on_error, n_jobs, verbose
        As in `featx.extract`.

    Returns
    -------
    list of Rows
        In the order of `embedders`; all of the same inputs, those that could be read for every embedder.
        Embedders that share the preparation share a profile.
    """
    check_options(cache=cache, on_error=on_error, n_jobs=n_jobs, verbose=verbose)
    n_jobs = None if n_jobs == -1 else n_jobs  # all cores, as in scikit-learn
    start = time.perf_counter()
    root = cache if isinstance(cache, Cache) else Cache(cache)
    keys = [source.stat_key() for source in sources]
    with uninterrupted():
        digests = root.stat_cache.lookup(keys)
    failed: dict[int, Failure] = {}
    groups: dict[str, list[int]] = {}
    for i, embedder in enumerate(embedders):
        preparation = embedder.preparation
        alike = json.dumps([preparation.kind, preparation.identity], sort_keys=True)
        groups.setdefault(alike, []).append(i)
    found: dict[int, EmbedderRun] = {}
    for numbers in groups.values():
        run = _Run(sources, root, digests, failed, on_error, n_jobs, verbose)
        try:
            members = run.complete([embedders[i] for i in numbers])
        finally:
            run.close()
        found.update(zip(numbers, members, strict=True))
    kept = np.array([i for i in range(len(sources)) if i not in failed], dtype=np.int64)
    failures = [failed[i] for i in sorted(failed)]
    seconds = {"total": time.perf_counter() - start}
    return [found[i].result(kept, failures, seconds) for i in range(len(embedders))]


def _mismatch(cache: Cache, embedder: Embedder, verbose: bool) -> list[str]:
    """Say how the space differs from the nearest one in the cache, where little differs."""
    near = cache.nearest(embedder.space) if embedder.is_network else None
    if near is None or len(near[1]) > 3:  # so much that it is no slip
        return []
    if verbose:
        tell(f"cache: no rows yet ({'; '.join(near[1])})")
    return near[1]


class _Run:
    """Computes the missing rows of embedders that prepare inputs alike."""

    def __init__(
        self,
        sources: Sequence[Source],
        cache: Cache,
        digests: list[bytes | None],
        failed: dict[int, Failure],
        on_error: str,
        n_jobs: int | None,
        verbose: bool,
    ) -> None:
        self.sources, self.cache, self.digests, self.failed = sources, cache, digests, failed
        self.on_error, self.n_jobs, self.verbose = on_error, n_jobs, verbose
        self.profile = Profile()
        self.members: list[EmbedderRun] = []

    def close(self) -> None:
        """Give up all claims on rows."""
        for member in self.members:
            member.store.claims.close()

    def complete(self, embedders: Sequence[Embedder]) -> list[EmbedderRun]:
        """Read all rows of all embedders, and compute those that are not in the cache."""
        self.preparation = embedders[0].preparation
        self.profile.stages = stage_times(self.preparation.stages)
        for asked in embedders:
            decided = apply_decisions(self.cache, asked, self.sources, self.digests)
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
            kept = [i for i in range(len(self.sources)) if i not in self.failed]
            todo = sorted({int(i) for member in self.members for i in member.read(self.digests, kept)})
            if not todo:
                break
            names = ", ".join(self.sources[i].id for i in todo[:5]) + (", ..." if len(todo) > 5 else "")
            kind = self.preparation.kind
            warnings.warn(
                f"the cached rows of {len(todo)} {kind if len(todo) == 1 else kind + 's'} were damaged or "
                f"removed and are extracted again: {names}",
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
            # The mean of a handful is mostly the cost of starting; it is noted only where there is none.
            if member.computed and (
                self.profile.images >= _WORTH_REMEMBERING or read_cost(member.store.path) is None
            ):
                write_cost(member.store.path, self.profile.wall / self.profile.images)
            if member.checked is not None and member.checked.key is not None:
                return_engine(member.checked.key, member.checked.engine)
        return self.members

    def _plan(self) -> list[int]:
        """Return the inputs to compute, after settling which engines compute them.

        Another engine may mean another space, in which other rows are missing.
        """
        for member in self.members:
            if member.embedder.needs_calibration:
                began = time.perf_counter()
                member.switch_to(calibrate(self.cache, member.embedder, self.sources))
                self.profile.building += time.perf_counter() - began
        todo = self._to_compute()
        if todo and self._check_engines(todo):
            todo = self._to_compute()
        return todo

    def _to_compute(self) -> list[int]:
        """Return what is missing, from the first input on that must go through a network.

        An input that is new by its path may be an old one by its content, or unreadable: while there are only
        such, no network is built. Their digests and failures are noted on the way.
        """
        lacking = {i for member in self.members for i in member.store.missing(self.digests)}
        todo = sorted(i for i in lacking if i not in self.failed)
        with _readers(len(todo)) as read_all:
            for start in range(0, len(todo), _LOOK):
                part = todo[start : start + _LOOK]
                seen = list(read_all(identify, [self.sources[i] for i in part]))
                contents = [item.digest for item in seen]
                missing = {part[j] for member in self.members for j in member.store.missing(contents)}
                with uninterrupted():
                    self.cache.stat_cache.store(
                        [(item.key, item.digest) for item in seen if item.key and item.digest]
                    )
                for at, (i, item) in enumerate(zip(part, seen, strict=True)):
                    if item.error is None and i in missing:
                        try:
                            self.preparation.prepare(self.sources[i].read())
                        except SourceError as error:
                            item.error = error
                    if item.error is not None:
                        self._refuse(i, item.error)
                    elif i in missing:
                        return todo[start + at :]
                    else:
                        self.digests[i] = item.digest
        return []

    def _check_engines(self, todo: list[int]) -> bool:
        """Get an engine for every member that lacks rows of `todo`; return whether one changed its space."""
        moved = False
        for member in self.members:
            lacking = member.store.missing([self.digests[i] for i in todo])
            if not lacking:
                continue
            new = [todo[j] for j in lacking]
            checked = check_engine(self.cache, member.embedder, self.sources, new, self.n_jobs)
            member.checked = checked
            self.profile.building += checked.building
            self.profile.comparing += checked.comparing
            if checked.embedder is not member.embedder:
                moved |= checked.embedder.space != member.embedder.space
                member.switch_to(checked.embedder)
        return moved

    def _compute(self, todo: list[int]) -> None:
        """Put the row of every input of `todo` into every store that lacks it, or wait for other runs to."""
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
                elsewhere = self._compute_once(todo, working, progress)
                todo = wait_for_others(working, elsewhere, self.profile, progress)

    def _compute_once(
        self, todo: list[int], working: list[EmbedderRun], progress: Progress
    ) -> list[dict[int, bytes]]:
        """Run the pipeline once; return what was left to other runs, for each member."""
        from featx.machine import cores

        engines = [member.checked.engine for member in working if member.checked is not None]
        stores = [member.store for member in working]
        pipeline = Pipeline(self.sources, self.preparation, engines, stores, self.n_jobs or cores())
        self.profile.engine = _describe(engines)
        self.profile.threads, self.profile.device = pipeline.threads, engines[0].workers == 0
        commits = CommitBuffer(self.cache, working, self.profile)
        chunks = pipeline.run(todo)
        began = time.perf_counter()
        try:
            for chunk in chunks:
                self._take(chunk, commits)
                progress.update(len(chunk.items))
        finally:
            try:
                chunks.close()
                commits.save(pipeline.rest)  # finished after the chunk that failed: not to be lost with it
            finally:
                for member in working:
                    member.store.claims.drop_all()
                self.profile.wall += time.perf_counter() - began
        return pipeline.elsewhere

    def _take(self, chunk: Chunk, commits: CommitBuffer) -> None:
        commits.add(chunk)
        for item in chunk.items:
            if item.error is None:
                self.digests[item.position] = item.digest
            else:
                self._refuse(item.position, item.error)

    def _refuse(self, position: int, error: SourceError) -> None:
        """Raise the error of an input, or note it as a failure."""
        if self.on_error == "raise":
            raise error
        self.failed[position] = Failure(error.id, error.reason)


@contextlib.contextmanager
def _readers(count: int) -> Iterator[Callable[..., Any]]:
    """Give a `map` that reads several files at a time; for one file no thread is worth its start."""
    if count <= 1:
        yield map
        return
    with ThreadPoolExecutor(READERS, thread_name_prefix="featx-read") as readers:
        yield readers.map


def _describe(engines: Sequence[Any]) -> dict[str, Any]:
    """Return what a profile says of the engines; of several, their different values side by side."""
    described: dict[str, Any] = {}
    keys = {"name": "engine", "workers": "lanes"}  # as stored profiles name them
    for name in ("name", "device", "precision", "workers", "batch_size"):
        values = list(dict.fromkeys(getattr(engine, name) for engine in engines))
        described[keys.get(name, name)] = values[0] if len(values) == 1 else ", ".join(map(str, values))
    return described
