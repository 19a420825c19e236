"""A run: find the rows that are missing, compute and commit them, and read all rows from the cache.

Inputs that have a row in the cache are found first, where possible by the stat cache, without opening a file.
The others go through the `pipeline`, and into the cache in commits of a few MB or at most `COMMIT_SECONDS`.
Then the rows are read: all at once, or block by block where they are handed on. Of an input, a run holds its
digest, and the index of the space its place: about 100 bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import read_cost, write_cost
from featx.data.compact_inputs import kinds_of
from featx.data.features import Failure
from featx.errors import CacheError, DataLossWarning, InputError, SourceError
from featx.extraction.calibration import calibrate
from featx.extraction.chunks import identify
from featx.extraction.commit_buffer import CommitBuffer
from featx.extraction.digests import Digests, blocks
from featx.extraction.embedder import Embedder
from featx.extraction.embedder_run import EmbedderRun, Rows
from featx.extraction.on_cluster import ClusterPipeline, LazyCluster
from featx.extraction.other_runs import wait_for_others
from featx.extraction.parity_check import apply_decisions, check_engine
from featx.extraction.parts import Part
from featx.extraction.pipeline import READERS, REMOTE_READERS, Pipeline
from featx.extraction.profile import Profile, stage_times
from featx.extraction.reuse import return_engine
from featx.forks import uninterrupted
from featx.inputs import Source
from featx.inputs.states import any_remote
from featx.options import DEFAULT_BACKBONES, check_options
from featx.places import stop_with
from featx.progress import Progress
from featx.terminal import tell

#: Inputs that are read at a time to find one that must be computed.
_LOOK = 32
#: From this many inputs on, their mean time replaces the cost of a row that was noted before.
_WORTH_REMEMBERING = 32
#: Times that rows are read; each time after the first, rows were damaged or removed and are computed again.
_ROUNDS = 8
#: Bytes of rows that are read at a time, where they are handed on.
_BLOCK_BYTES = 32 * 2**20
#: What rows are handed to: the embedder, the positions of the inputs (m,), and their rows (m, dim).
Take = Callable[[Embedder, np.ndarray, np.ndarray], object]
#: Fields of a space that differ where another network, or another training of it, was asked for.
_ANOTHER_NETWORK = "backbone.architecture:", "backbone.weights:", "backbone.weights_sha256:"


def embed(sources: Sequence[Source], embedder: Embedder, *, take: Take | None = None, **options: Any) -> Rows:
    """Return the rows of sources by one embedder; options as for `embed_together`.

    With `take`, rows are never all in memory: when all are in the cache, it is called with block after block
    of them, in the order of the sources without those that could not be read, and the result has none. The
    memory of a block is used again for the next one.
    """
    return embed_together(sources, [embedder], take=take, **options)[0]


def embed_together(
    sources: Sequence[Source],
    embedders: Sequence[Embedder],
    *,
    cache: Any = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
    on: Any = None,
    part: Part | None = None,
    take: Take | None = None,
    read: bool = True,
) -> list[Rows]:
    """Return the rows of sources by several embedders, from the cache or through their networks.

    All rows are of the same inputs: those that could be read for every embedder. Embedders with the same
    preparation share it, and one profile. Options as in `featx.extract`; `part` is what `sources` are of a
    collection, `take` as for `embed`; without `read`, rows are only computed, and the results have none. When
    an error or Ctrl-C ends the run, rows computed already are committed before the error propagates.
    """
    check_options(cache=cache, on_error=on_error, n_jobs=n_jobs, verbose=verbose)
    n_jobs = None if n_jobs == -1 else n_jobs  # all cores, as in scikit-learn
    for embedder in embedders:
        _require_kind(sources, embedder)
    start = time.perf_counter()
    root = cache if isinstance(cache, Cache) else Cache(cache)
    digests = Digests.look_up(root, sources)
    failed: dict[int, Failure] = {}
    cluster = LazyCluster(on, verbose=verbose)
    groups: dict[str, list[int]] = {}
    for i, embedder in enumerate(embedders):
        preparation = embedder.preparation
        same = json.dumps([preparation.kind, preparation.identity], sort_keys=True)
        groups.setdefault(same, []).append(i)
    found: dict[int, EmbedderRun] = {}
    try:
        for numbers in groups.values():
            run = _Run(
                sources,
                root,
                digests,
                failed,
                cluster,
                on_error=on_error,
                n_jobs=n_jobs,
                verbose=verbose,
                part=part,
            )
            try:
                members = run.complete([embedders[i] for i in numbers], take, read)
            finally:
                run.close()
            found.update(zip(numbers, members, strict=True))
    finally:
        cluster.close()
    kept = _without(np.arange(len(sources)), failed)
    failures = [failed[i] for i in sorted(failed)]
    seconds = {"total": time.perf_counter() - start}
    return [found[i].result(kept, failures, seconds) for i in range(len(embedders))]


def _require_kind(sources: Sequence[Source], embedder: Embedder) -> None:
    """Refuse inputs that the network does not take."""
    kind = embedder.preparation.kind
    other = next((other for other in sorted(kinds_of(sources)) if other != kind), None)
    if other is not None:
        network = getattr(embedder.backbone, "name", "this network")
        hint = (
            f"; give a network of {other}s, such as {DEFAULT_BACKBONES[other]!r}"
            if other in DEFAULT_BACKBONES
            else ""
        )
        raise InputError(f"backbone: {network} takes {kind}s, and the data holds {other}s{hint}")


def _describe_mismatch(cache: Cache, embedder: Embedder, verbose: bool) -> list[str]:
    """Return how the space differs from the nearest one in the cache, if that may be an oversight."""
    near = cache.nearest(embedder.space) if embedder.is_network else None
    if near is None or len(near[1]) > 3:
        return []
    # Another network was asked for on purpose; of several backbones, each would differ from the last.
    if verbose and not any(text.startswith(_ANOTHER_NETWORK) for text in near[1]):
        tell(f"cache: no rows yet ({'; '.join(near[1])})")
    return near[1]


@dataclass
class _Run:
    """Computes the missing rows of embedders that share one preparation.

    `digests` and `failed`, by position, are shared with the runs of other embedders on the same `sources`,
    which are a `part` of a collection.
    """

    sources: Sequence[Source]
    cache: Cache
    digests: Digests
    failed: dict[int, Failure]
    cluster: LazyCluster
    on_error: str
    n_jobs: int | None
    verbose: bool
    part: Part | None
    profile: Profile = field(default_factory=Profile)
    members: list[EmbedderRun] = field(default_factory=list)

    @property
    def whole(self) -> Sequence[Source]:
        """The inputs of the collection."""
        return self.sources if self.part is None else self.part.whole

    def close(self) -> None:
        """Give up all claims on rows."""
        for member in self.members:
            member.store.claims.close()

    def complete(
        self, embedders: Sequence[Embedder], take: Take | None = None, read: bool = True
    ) -> list[EmbedderRun]:
        """Read all rows of all embedders, and compute those that are not in the cache."""
        self.preparation = embedders[0].preparation
        self.profile.stages = stage_times(self.preparation.stages)
        self.profile.kind = self.preparation.kind
        for asked in embedders:
            known = self.digests if self.part is None else None
            decided = apply_decisions(self.cache, asked, self.whole, known)
            self.members.append(EmbedderRun(self.cache, decided))
        new = [not os.path.exists(member.store.path) for member in self.members]
        todo = self._plan()
        for member, is_new in zip(self.members, new, strict=True):
            if len(todo) and is_new:
                member.mismatch = _describe_mismatch(self.cache, member.embedder, self.verbose)
        self._compute(todo)
        if take is not None:
            self._hand_over(take)
        elif read:
            self._read(np.arange(len(self.sources)))
        for member in self.members:
            member.profile = self.profile
            # The mean of few rows is mostly the cost of starting; it replaces no other.
            if member.computed and (
                self.profile.images >= _WORTH_REMEMBERING or read_cost(member.store.path) is None
            ):
                write_cost(member.store.path, self.profile.seconds_per_image)
            if member.checked is not None and member.checked.key is not None:
                return_engine(member.checked.key, member.checked.engine)
        return self.members

    def _read(self, positions: np.ndarray) -> None:
        """Read the rows of the inputs at `positions`, and compute again those that are damaged or gone."""
        todo = positions[:0]
        for _ in range(_ROUNDS):
            if len(todo):
                self._say_lost(todo)
                # Kept in memory too from now on, so that only the rows of other runs can be missing again.
                for member in self.members:
                    member.store.keep_rows()
                self._compute(todo)
            kept = _without(positions, self.failed)
            todo = _union([member.read(self.digests, kept) for member in self.members])
            if not len(todo):
                return
        raise CacheError(
            f"{self.members[0].store.path}: {len(todo)} rows were damaged or removed right after they "
            "were written; the disk may be failing, or another program clears the cache: try another "
            "folder with --cache"
        )

    def _hand_over(self, take: Take) -> None:
        """Read all rows block by block, and call `take` with each."""
        (member,) = self.members
        for block in blocks(len(self.sources), max(1, _BLOCK_BYTES // (4 * member.embedder.dim))):
            self._read(np.arange(block.start, block.stop))
            if len(member.kept):
                take(member.embedder, member.kept, member.rows)
        member.drop_rows()

    def _say_lost(self, todo: np.ndarray) -> None:
        names = ", ".join(self.sources[i].id for i in todo[:5].tolist()) + (", ..." if len(todo) > 5 else "")
        kind = self.preparation.kind
        warnings.warn(
            f"the cached rows of {len(todo)} {kind if len(todo) == 1 else kind + 's'} were damaged or "
            f"removed and are extracted again: {names}",
            DataLossWarning,
            stacklevel=6,
        )

    def _plan(self) -> np.ndarray:
        """Choose the engines, and return the inputs to compute.

        Another engine may mean another space, in which other rows are missing.
        """
        for member in self.members:
            if member.embedder.needs_calibration:
                began = time.perf_counter()
                if self.part is not None:
                    self.part.require_first(self.preparation.kind)
                member.switch_to(calibrate(self.cache, member.embedder, self.whole))
                self.profile.building += time.perf_counter() - began
        todo = self._find_missing()
        if len(todo) and self._check_engines(todo):
            todo = self._find_missing()
        return todo

    def _find_missing(self) -> np.ndarray:
        """Return the inputs without a row, from the first one that must go through a network.

        Inputs under a new path may have known content, or be unreadable. While there are only such inputs, no
        network is built; their digests and failures are recorded.
        """
        todo = _without(self._lacking(np.arange(len(self.sources))), self.failed)
        with _readers(self.sources, todo) as read_all:
            for start in range(0, len(todo), _LOOK):
                part = todo[start : start + _LOOK].tolist()
                seen = list(read_all(identify, [self.sources[i] for i in part]))
                contents = [item.digest for item in seen]
                missing = {part[j] for member in self.members for j in member.store.missing(contents)}
                with uninterrupted():
                    self.cache.stat_cache.store(
                        [(item.key, item.digest) for item in seen if item.key and item.digest]
                    )
                known = {
                    i: item.digest
                    for i, item in zip(part, seen, strict=True)
                    if item.digest and i not in missing
                }
                self.digests.put(list(known), list(known.values()))
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
        return todo[:0]

    def _lacking(self, positions: np.ndarray) -> np.ndarray:
        """Return those of `positions` without a row, or with an unknown digest."""
        return _union([member.store.lacking(positions, self.digests) for member in self.members])

    def _check_engines(self, todo: np.ndarray) -> bool:
        """Get an engine for every member that lacks rows of `todo`; return whether a space changed."""
        moved = False
        for member in self.members:
            new = member.store.lacking(todo, self.digests)
            if not len(new):
                continue
            checked = check_engine(
                self.cache, member.embedder, self.sources, new, self.n_jobs, part=self.part
            )
            member.checked = checked
            self.profile.building += checked.building
            self.profile.comparing += checked.comparing
            if checked.embedder is not member.embedder:
                moved |= checked.embedder.space != member.embedder.space
                member.switch_to(checked.embedder)
        return moved

    def _compute(self, todo: np.ndarray) -> None:
        """Compute the rows of `todo` that a store lacks, or wait for other runs that compute them."""
        if not len(todo):
            return
        # Without an engine, all rows were there when the plan was made, and some were damaged.
        if all(member.checked is None for member in self.members) and self._check_engines(todo):
            raise CacheError(
                f"{self.cache.root}: damaged rows cannot be computed as before, because another engine is "
                "needed now; run again"
            )
        working = [member for member in self.members if member.checked is not None]
        if not working:  # another run has committed all rows since the plan was made
            return
        for member in working:
            member.store.prepare()  # fails before any work if the folder cannot be written
            member.store.describe(member.embedder.about)
        unit = "img" if self.preparation.kind == "image" else f"{self.preparation.kind}s"
        with Progress(len(todo), "extracting", unit=unit, enabled=self.verbose) as progress:
            elsewhere = [np.empty(0, np.int64) for _ in working]
            while len(todo):
                claimed = self._compute_once(todo, working, progress)
                elsewhere = [
                    _without(_union(both), self.failed) for both in zip(elsewhere, claimed, strict=True)
                ]
                todo = wait_for_others(working, elsewhere, self.digests, self.profile, progress)

    def _compute_once(
        self, todo: np.ndarray, working: list[EmbedderRun], progress: Progress
    ) -> list[np.ndarray]:
        """Run the pipeline once; return for each member the positions of what other runs have claimed."""
        engines = [member.checked.engine for member in working if member.checked is not None]
        self.profile.engine = _describe(engines)
        pipeline = self._pipeline(engines, working)
        self.profile.threads, self.profile.device = pipeline.threads, engines[0].workers == 0
        commits = CommitBuffer(self.cache, working, self.profile)
        chunks = pipeline.run(todo)
        began = time.perf_counter()
        try:
            for chunk in chunks:
                commits.add(chunk)
                read = {item.position: item.digest for item in chunk.items if item.digest and not item.error}
                self.digests.put(list(read), list(read.values()))
                for item in chunk.items:
                    if item.error is not None:
                        self._refuse(item.position, item.error)
                progress.update(len(chunk.items))
        finally:
            try:
                chunks.close()
                commits.save(pipeline.rest)  # finished chunks behind the one that failed
            finally:
                for member in working:
                    member.store.claims.drop_all()
                self.profile.wall += time.perf_counter() - began
        return [np.array(positions, dtype=np.int64) for positions in pipeline.elsewhere]

    def _pipeline(self, engines: Sequence[Any], working: list[EmbedderRun]) -> Pipeline | ClusterPipeline:
        """Return what computes rows: threads of this process, or a cluster."""
        from featx.machine import cores

        if self.cluster:
            return ClusterPipeline(
                self.cluster.opened(),
                self.sources,
                working,
                self.cache,
                self.profile,
                cores=self.n_jobs,
                until_error=self.on_error == "raise",
            )
        stores = [member.store for member in working]
        return Pipeline(self.sources, self.preparation, engines, stores, self.n_jobs or cores())

    def _refuse(self, position: int, error: SourceError) -> None:
        """Raise the error of an input, or record it as a failure, as `on_error` says."""
        if self.on_error == "raise":
            raise error
        self.failed[position] = Failure(error.id, error.reason)


def _without(positions: np.ndarray, failed: Collection[int]) -> np.ndarray:
    """Return `positions` without those in `failed`."""
    if not failed:
        return positions
    return positions[~np.isin(positions, np.fromiter(failed, dtype=np.int64))]


def _union(positions: Sequence[np.ndarray]) -> np.ndarray:
    """Return the positions that are in any of the arrays, ascending, each once."""
    return positions[0] if len(positions) == 1 else np.unique(np.concatenate(positions))


@contextlib.contextmanager
def _readers(sources: Sequence[Source], todo: np.ndarray) -> Iterator[Callable[..., Any]]:
    """Give a `map` that reads several inputs at a time; for one of them, starting threads does not pay."""
    if len(todo) <= 1:
        yield map
        return
    count, stopped = REMOTE_READERS if any_remote(sources, todo) else READERS, threading.Event()
    with ThreadPoolExecutor(count, "featx-read", initializer=stop_with, initargs=(stopped,)) as readers:
        try:
            yield readers.map
        finally:
            stopped.set()


def _describe(engines: Sequence[Any]) -> dict[str, Any]:
    """Describe the engines for a profile; different values of several engines are joined by commas."""
    described: dict[str, Any] = {}
    keys = {"name": "engine", "workers": "lanes"}  # as stored profiles name them
    for name in ("name", "device", "precision", "workers", "batch_size"):
        values = list(dict.fromkeys(getattr(engine, name) for engine in engines))
        described[keys.get(name, name)] = values[0] if len(values) == 1 else ", ".join(map(str, values))
    positions = getattr(engines[0], "batch_positions", None)
    if positions is not None:
        described |= {"batch_positions": positions, "position": engines[0].backbone.inputs.position}
    return described
