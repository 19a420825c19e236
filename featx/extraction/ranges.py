"""What a worker of a cluster does: it computes the rows of a range of inputs, with an engine that it keeps.

A worker decides nothing. Embedders, precision, calibration and the size of batches are those of the process
that began the run, so that rows are the same wherever they are computed. Where a worker sees the folder of
the cache, it commits its rows there, and claims them as any run does; else it sends them back.
"""

from __future__ import annotations

import os
import time
import uuid
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featx.cache import Cache, Claims
from featx.durable import host_name, read_regular
from featx.errors import EngineError, InputError, SourceError
from featx.extraction.chunks import Chunk
from featx.extraction.commit_buffer import CommitBuffer
from featx.extraction.embedder import Embedder
from featx.extraction.embedder_run import EmbedderRun
from featx.extraction.parity_check import machine_of, require_parity
from featx.extraction.pipeline import Pipeline
from featx.extraction.profile import Profile, stage_times
from featx.extraction.reuse import EngineKey, engine_key, return_engine, take_engine
from featx.inputs import Content, Source
from featx.machine import cores


@dataclass(frozen=True)
class Mark:
    """A file in the cache by which a worker knows that it sees the same folder.

    Parameters
    ----------
    path : str
    token : bytes
        What it holds, drawn for this run.
    """

    path: str
    token: bytes

    @classmethod
    def write(cls, folder: Path) -> Mark:
        """Write one into the folder of unfinished files, where what is left behind is swept up."""
        path = folder / f"{uuid.uuid4().hex}.{host_name()}.{os.getpid()}.part"
        token = uuid.uuid4().bytes
        path.write_bytes(token)
        return cls(str(path), token)

    def is_here(self) -> bool:
        """Whether this process sees the file and may write beside it."""
        try:
            found = read_regular(self.path, at_most=len(self.token))
        except OSError:
            return False
        return found == self.token and os.access(os.path.dirname(self.path), os.W_OK)


@dataclass(eq=False)
class Job:
    """What all ranges of a run share.

    Attributes
    ----------
    embedders : list of Embedder
        Without fallbacks: a worker that cannot run one is refused.
    batch_sizes : list of int or "auto"
        The size of each one's batches; ``"auto"`` where an engine counts positions.
    machines : list of str
        The kind of machine on which each one's engine was compared with plain fp32.
    root : str
        The folder of the cache.
    mark : Mark
    inputs : int
        How many inputs the run has, for which engines are built.
    cores : int or None
        Cores that a worker may use; None for all that its process may.
    until_error : bool
        Whether an input that cannot be read ends its range.
    """

    embedders: list[Embedder]
    batch_sizes: list[int | str]
    machines: list[str]
    root: str
    mark: Mark
    inputs: int
    cores: int | None
    until_error: bool
    _passed: set[int] = field(default_factory=set)  # numbers of embedders that may run on this machine

    def __getstate__(self) -> dict[str, Any]:
        bare = [replace(embedder, fallbacks=()) for embedder in self.embedders]
        return self.__dict__ | {"embedders": bare, "_passed": set()}


@dataclass
class RangeResult:
    """What a worker sends back.

    Attributes
    ----------
    chunks : list of Chunk
        With positions in the range; with rows where the worker does not see the cache.
    elsewhere : list of array of int
        For each embedder, positions of inputs whose rows others compute.
    computed : list of int
        For each embedder, the rows that were committed.
    profile : Profile
        Of what was committed.
    seconds : float
        Without building engines.
    threads : int
    host : str
    """

    chunks: list[Chunk]
    elsewhere: list[array[int]]
    computed: list[int]
    profile: Profile
    seconds: float
    threads: int
    host: str


@dataclass(frozen=True, slots=True, eq=False)
class ReadInput:
    """An input that was read already, because it lies in memory or is made by a function (`Source`)."""

    id: str
    kind: str
    found: Content | SourceError
    is_file = False

    def read(self) -> Content:
        """Return its content, or raise the error of reading it."""
        if isinstance(self.found, SourceError):
            raise self.found
        return self.found

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


def compute_range(job: Job, sources: Sequence[Source]) -> RangeResult:
    """Compute the rows of some inputs that the cache lacks."""
    cache = Cache(job.root) if job.mark.is_here() else None
    keys, engines = _take_engines(job, cache, sources)
    began = time.perf_counter()
    preparation = job.embedders[0].preparation
    profile = Profile(stages=stage_times(preparation.stages))
    members: list[EmbedderRun] = []
    stores: list[Any] = []
    if cache is not None:
        members = [EmbedderRun(cache, embedder) for embedder in job.embedders]
        stores = [member.store for member in members]
        for store in stores:  # kept from an earlier run, since when the cache may have been cleared
            store.refresh()
    else:
        stores = [_NoStore() for _ in engines]
    pipeline = Pipeline(sources, preparation, engines, stores, job.cores or cores())
    done: list[Chunk] = []
    commits = None if cache is None else CommitBuffer(cache, members, profile)
    chunks = pipeline.run(range(len(sources)))
    try:
        for chunk in chunks:
            done.append(chunk)
            if commits is not None:
                commits.add(chunk)
            if job.until_error and any(item.error for item in chunk.items):
                break
    finally:
        try:
            chunks.close()
            if commits is not None:
                commits.save(pipeline.rest)
            done += pipeline.rest
        finally:
            for store in stores:
                store.claims.drop_all()
                store.claims.close()
    for key, engine in zip(keys, engines, strict=True):
        if key is not None:
            return_engine(key, engine)
    for chunk in done if cache is not None else ():
        _drop_rows(chunk)
    return RangeResult(
        chunks=done,
        elsewhere=pipeline.elsewhere,
        computed=[member.computed for member in members],
        profile=profile,
        seconds=time.perf_counter() - began,
        threads=pipeline.threads,
        host=host_name(),
    )


def _drop_rows(chunk: Chunk) -> None:
    """Leave the digests and errors of a chunk whose rows are committed."""
    chunk.digests, chunk.wanted, chunk.rows, chunk.seconds = [], [], [], {}
    chunk.longer, chunk.silent, chunk.duration = 0, [], 0.0
    for item in chunk.items:
        item.key = None


def _take_engines(
    job: Job, cache: Cache | None, sources: Sequence[Source]
) -> tuple[list[EngineKey | None], list[Any]]:
    """Return the engines of a job, kept from an earlier range or built now, with their keys for reuse."""
    keys: list[EngineKey | None] = []
    engines = []
    for number, embedder in enumerate(job.embedders):
        batch, key, engine = job.batch_sizes[number], None, None
        try:
            if embedder.plan is None:
                engine = embedder.make_engine(job.inputs, job.cores)
            else:
                _require_device(embedder.plan.device)
                key = (*engine_key(embedder, job.inputs, job.cores), batch)
                engine = take_engine(key)
                if engine is None:
                    engine = embedder.make_engine(job.inputs, job.cores, batch_size=batch)
                if number not in job._passed and machine_of(embedder) != job.machines[number]:
                    require_parity(cache, embedder, engine, sources)
        except SourceError:
            raise
        except InputError as error:  # such as a file that is not on this machine
            raise EngineError(
                f"on: the worker on {host_name()} cannot run {embedder.plan}, which this run uses ({error})"
            ) from error
        job._passed.add(number)
        keys.append(key)
        engines.append(engine)
    return keys, engines


def _require_device(device: str) -> None:
    """Raise `InputError` where this process has no such device."""
    from featx.engines.resolver import find_device

    try:
        find_device(device)
    except InputError as error:
        hint = "; a worker of Ray has its own GPU as 'cuda', whatever its number"
        raise InputError(f"{error}{hint if device.startswith('cuda:') else ''}") from error


class _NoStore:
    """The store of a worker that does not see the cache: nothing is known, and claims count only here."""

    def __init__(self) -> None:
        self.claims = Claims(Path(os.devnull))

    def held(self, digests: Sequence[bytes]) -> set[bytes]:
        return set()

    def refresh(self) -> None:
        pass
