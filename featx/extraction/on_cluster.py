"""The part of a run that computes on a cluster: it gives ranges of inputs to workers, and takes them back.

What is decided is decided here, once: which rows are missing, the engine and its precision, the calibration
of int8. A range is so long that a worker needs some seconds for it; the first ones are short, since nothing
is known yet, and the last ones, so that all workers end together. A range is a whole number of batches, so
that batches are those of one process.
"""

from __future__ import annotations

import contextlib
import warnings
from array import array
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.clusters import Cluster, Task, open_cluster
from featx.errors import ClusterError, SourceError
from featx.extraction.chunks import Chunk, read_item
from featx.extraction.embedder_run import EmbedderRun
from featx.extraction.parity_check import machine_of
from featx.extraction.profile import Profile
from featx.extraction.ranges import Job, Mark, RangeResult, ReadInput, compute_range
from featx.inputs import Source
from featx.kinds import count_of
from featx.terminal import tell

#: Seconds that a range should take.
_SECONDS = 8.0
#: A range has at most this many times the inputs of the longest one before it.
_GROWTH = 4
#: Bytes of rows, and of inputs that lie in memory, that a range has at most.
_MOST_BYTES = 32 * 2**20
#: Most inputs in a range.
_MOST_INPUTS = 20_000


class LazyCluster:
    """The cluster that the option ``on`` names, opened when it is first needed."""

    def __init__(self, on: Any, *, verbose: bool = False) -> None:
        self._on, self._verbose = on, verbose
        self._cluster: Cluster | None = None

    def __bool__(self) -> bool:
        return self._on is not None

    def opened(self) -> Cluster:
        """Return the cluster."""
        if self._cluster is None:
            self._cluster = open_cluster(self._on, verbose=self._verbose)
            self._cluster.__enter__()
            if self._verbose:
                tell(f"extracting on {self._cluster.description}")
        return self._cluster

    def close(self) -> None:
        """End what was started."""
        if self._cluster is not None:
            self._cluster.__exit__(None, None, None)
            self._cluster = None


class ClusterPipeline:
    """Computes rows on the workers of a cluster, in place of a `featx.extraction.pipeline.Pipeline`.

    Chunks have rows only where their worker does not see the cache. Rows that workers have committed are
    counted in `members` and `profile`.

    Attributes
    ----------
    rest : list of Chunk
        Empty.
    elsewhere : list of array of int
        For each member, positions of inputs whose rows another run, or another worker, computes.
    threads : int
        Of all workers together.
    """

    def __init__(
        self,
        cluster: Cluster,
        sources: Sequence[Source],
        members: Sequence[EmbedderRun],
        cache: Cache,
        profile: Profile,
        *,
        cores: int | None,
        until_error: bool,
    ) -> None:
        self._cluster, self._sources, self._members, self._profile = cluster, sources, members, profile
        self._cache, self._until_error = cache, until_error
        self._cores = cores or cluster.cores_each
        self.threads = cluster.cores
        self.rest: list[Chunk] = []
        self.elsewhere = [array("q") for _ in members]
        self._rate: float | None = None  # inputs a second of one worker
        self._longest = 0

    def run(self, todo: np.ndarray) -> Generator[Chunk]:
        """Yield chunks as workers return them, in any order of ranges."""
        import torch

        engines = [member.checked.engine for member in self._members if member.checked is not None]
        self._profile.engine["cluster"] = self._cluster.description
        if self._cluster.gpus and engines[0].device == "cpu" and not torch.cuda.is_available():
            warnings.warn(
                f"the workers have {count_of(self._cluster.gpus, 'GPU')}, but compute on CPUs: this process, "
                "which chooses the engine, has no GPU; start featx on a node with one",
                RuntimeWarning,
                stacklevel=2,
            )
        mark = Mark.write(self._members[0].store.path / "tmp")
        job = Job(
            embedders=[member.embedder for member in self._members],
            batch_sizes=["auto" if _counts_positions(engine) else engine.batch_size for engine in engines],
            machines=[machine_of(member.embedder) for member in self._members],
            root=str(self._cache.root),
            mark=mark,
            inputs=len(todo),
            cores=self._cores,
            until_error=self._until_error,
        )
        batch = max(engine.batch_size for engine in engines)
        row = max(4 * member.embedder.dim for member in self._members)
        try:
            with contextlib.closing(
                self._cluster.run(compute_range, self._tasks(todo, batch, _MOST_BYTES // row), job)
            ) as results:
                for task, result in results:
                    start, size = task.key.start, task.key.count
                    yield from self._take(todo[start : start + size].tolist(), result)
        finally:
            with contextlib.suppress(OSError):
                Path(mark.path).unlink()

    def _tasks(self, todo: np.ndarray, batch: int, most: int) -> Iterator[Task]:
        start = 0
        while start < len(todo):
            count = self._count(len(todo) - start, batch, most)
            sources, size = [], 0
            for i in todo[start : start + count].tolist():
                source = self._sources[i]
                if not source.is_file:
                    source, nbytes = _read_now(source)
                    size += nbytes
                sources.append(source)
                if size >= _MOST_BYTES:
                    break
            yield _task(start, sources, batch)
            start += len(sources)

    def _count(self, left: int, batch: int, most: int) -> int:
        """Return the number of inputs in the next range."""
        slots = self._cluster.slots
        count = batch * max(1, self.threads // slots)
        if self._rate is not None:
            count = min(
                int(_SECONDS * self._rate), _GROWTH * self._longest, left // (2 * slots), most, _MOST_INPUTS
            )
        count = batch * max(1, count // batch)
        self._longest = max(self._longest, count)
        return count

    def _take(self, positions: Sequence[int], result: RangeResult) -> Iterator[Chunk]:
        if result.seconds > 0:
            self._rate = len(positions) / result.seconds
        for found, here in zip(result.elsewhere, self.elsewhere, strict=True):
            here.extend(positions[at] for at in found)
        for member, computed in zip(self._members, result.computed, strict=False):
            member.computed += computed
        self._profile.merge(result.profile)
        self._profile.worked += result.seconds
        asked = False
        for chunk in result.chunks:
            for item in chunk.items:
                item.position = positions[item.position]
                if item.error is not None and item.digest is None and not asked:
                    asked = True
                    self._require_visible(item.position, item.error, result.host)
            yield chunk

    def _require_visible(self, position: int, error: SourceError, host: str) -> None:
        """Raise `ClusterError` for an input that a worker cannot read and this process can."""
        source = self._sources[position]
        if source.is_file and read_item(source, position).error is None:
            raise ClusterError(
                f"{error}: the worker on {host} cannot read it, and this process can; data for a cluster "
                "must lie on a path that all its nodes share, or behind a URL"
            ) from error


class _Range:
    """The key of a task: a range of the inputs to compute, which messages name by its first and last one."""

    def __init__(self, start: int, count: int, first: str, last: str) -> None:
        self.start, self.count, self._ids = start, count, (first, last)

    def __str__(self) -> str:
        return " ... ".join(dict.fromkeys(self._ids))


def _task(start: int, sources: Sequence[Source], batch: int) -> Task:
    """Return the task of a range that begins at `start`; its halves are whole batches, too, if possible."""
    count = len(sources)
    middle = count // 2 if count <= batch else batch * max(1, count // 2 // batch)

    def halves() -> list[Task]:
        return [_task(start, sources[:middle], batch), _task(start + middle, sources[middle:], batch)]

    key = _Range(start, count, sources[0].id, sources[-1].id)
    return Task(key, sources, halves=halves if count > 1 else None)


def _read_now(source: Source) -> tuple[ReadInput, int]:
    """Read an input that lies in this process's memory, to send it to a worker; return also its bytes."""
    try:
        content = source.read()
    except SourceError as error:
        return ReadInput(source.id, source.kind, error), 0
    return ReadInput(source.id, source.kind, content), content.nbytes


def _counts_positions(engine: Any) -> bool:
    return getattr(engine, "batch_positions", None) is not None
