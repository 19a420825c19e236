"""Run cells on a cluster: rows, methods and splits are sent to each worker once, and records come back.

A probe takes one core of a worker, or a few where cells are few; a cell of fine-tuning takes a worker with
all its cores, and with a GPU where the cluster has any. A record is what it would be here: the estimator of a
probe does not depend on the number of threads, and a worker whose packages have other versions than those in
the key is refused. Fitted methods stay where they were fitted. The energy of a cell is not measured: it
shares its machine with others.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import Any, NamedTuple

from featx.clusters import Cluster, Task
from featx.data.splits import Split
from featx.errors import InputError
from featx.forks import fresh_in_child
from featx.machine import cores
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation.cells import Cell, Keep, LabelledRows, installed_version
from featx.studies.evaluation.fine_tuning import FineTuning
from featx.studies.evaluation.methods import AdaptedProbe, Fit, Method, ProbeMethod
from featx.studies.evaluation.time_left import MOST_CORES, StudyProgress
from featx.threads import limit_threads

#: The rows that the thread worked on last.
_here = threading.local()


class _SentCell(NamedTuple):
    """A cell, as it is sent: with the numbers of what all cells share."""

    method: int
    rows: int
    split: int
    seed: int
    keep: Keep


@dataclass
class _Shared:
    """What the cells of a run have in common; each object is there once."""

    methods: list[Method] = field(default_factory=list)
    rows: list[LabelledRows] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    threads: int = 1  # of a cell
    training_threads: int | None = 1  # of a cell of fine-tuning; None: all that its process may use
    probes: list[Any] = field(default_factory=list)  # those that a worker need not know
    versions: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, groups: Sequence[Sequence[Cell]]) -> tuple[_Shared, list[list[_SentCell]]]:
        """Return what the cells share, and the parts of each group."""
        shared = cls()
        known: dict[int, int] = {}

        def number(objects: list[Any], one: Any) -> int:
            if id(one) not in known:
                known[id(one)] = len(objects)
                objects.append(one)
            return known[id(one)]

        parts = [
            [
                _SentCell(
                    number(shared.methods, cell.method),
                    number(shared.rows, cell.rows),
                    number(shared.splits, cell.split),
                    cell.seed,
                    cell.keep,
                )
                for cell in group
            ]
            for group in groups
        ]
        shared.probes = _own_probes([cell for group in groups for cell in group])
        packages = {name for method in shared.methods for name in (*method.packages, "featx")}
        shared.versions = {name: _version(name) for name in sorted(packages)}
        return shared, parts

    def cell(self, part: _SentCell) -> Cell:
        method, rows, split = self.methods[part.method], self.rows[part.rows], self.splits[part.split]
        return Cell(method, rows, split, part.seed, part.keep)


def compute_on(
    cluster: Cluster,
    groups: Sequence[Sequence[Cell]],
    checkpoints: Checkpoints,
    progress: StudyProgress | None = None,
    *,
    threads: int | None = None,
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Compute groups of cells on a cluster, and yield each record when it is kept.

    The cells of a group run one after another on one worker, where they share the work on the rows of their
    split; cells of one method and split that differ only in what they keep share its fit. Each cell computes
    on `threads` threads; by default, one of fine-tuning has all cores of its worker, and a probe its share of
    the cluster. An error of a cell, and Ctrl-C, end the run; what came back before is kept.
    """
    if not groups:
        return
    shared, parts = _Shared.of(groups)
    shared.threads = threads or _share_of(cluster, len(groups))
    shared.training_threads = threads or cluster.cores_each

    def task(number: int, cells: Sequence[Cell]) -> Task:
        whole = threads is None and any(isinstance(cell.method, FineTuning) for cell in cells)
        gpus = float(any(map(_needs_gpu, cells)))
        return Task(number, parts[number], gpus, None if whole else shared.threads)

    tasks = list(starmap(task, enumerate(groups)))
    # Workers may be threads of this process.
    with threads_of([cell for group in groups for cell in group], shared.training_threads or shared.threads):
        running = cluster.run(run_group, tasks, shared)
        try:
            for done, found in running:
                for cell, (record, seconds) in zip(groups[done.key], found, strict=True):
                    kept = checkpoints.add(cell.key, record)
                    if progress is not None:
                        progress.computed(cell, seconds)
                    yield cell, kept
        finally:
            if hasattr(running, "close"):
                running.close()


def run_group(shared: _Shared, parts: Sequence[_SentCell]) -> list[tuple[dict[str, Any], float]]:
    """Run the cells of a group on a worker; return the record of each, and its seconds."""
    _require_versions(shared.versions)
    _add_probes(shared.probes)
    _forget_others(shared.rows[parts[0].rows])
    found: list[tuple[dict[str, Any], float]] = []
    before: _SentCell | None = None
    fit: Fit | None = None
    for part in parts:
        began, cell = time.perf_counter(), shared.cell(part)
        if before is not None and before == part._replace(keep=before.keep):
            cell = replace(cell, fit=fit)
        if isinstance(cell.method, FineTuning):
            cell.method.setup.check_arithmetic()
        tuned = isinstance(cell.method, FineTuning)
        count = (shared.training_threads or cores()) if tuned else shared.threads
        with _limit.at(count), threads_of([cell], count):
            record, fit = cell.run(n_jobs=count)
        before = part
        found.append((record, time.perf_counter() - began))
    return found


def _share_of(cluster: Cluster, n_groups: int) -> int:
    """Return the threads of a cell, where `n_groups` groups of cells run on the cluster."""
    share = cluster.cores_each or min(cluster.cores // n_groups, cluster.cores // cluster.slots)
    return max(1, min(share, MOST_CORES))


class _Limit:
    """Limits BLAS in this process while any of its threads runs a cell.

    A limit that each thread set and lifted would be lifted for the others, too.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._open = fresh_in_child(threading.Lock()), 0, ExitStack()

    @contextmanager
    def at(self, threads: int) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._open.enter_context(limit_threads(threads))
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._open.close()


_limit = _Limit()


def _forget_others(rows: LabelledRows) -> None:
    """Forget what this thread computed from the rows before, as those of a study may be many."""
    before: LabelledRows | None = getattr(_here, "rows", lambda: None)()
    if before is not None and before is not rows:
        before.forget()
    _here.rows = weakref.ref(rows)


def _needs_gpu(cell: Cell) -> bool:
    """Whether a GPU computes it where there is one: every training, and probes where a device is named."""
    return isinstance(cell.method, FineTuning) or str(cell.rows.device) not in ("auto", "cpu")


def _version(package: str) -> str | None:
    import featx

    found = featx.__version__ if package == "featx" else installed_version(package)
    # Builds for other devices have the same numbers: 2.13.0+cpu and 2.13.0+cu130.
    return found and found.partition("+")[0]


def _require_versions(expected: Mapping[str, str | None]) -> None:
    """Refuse to compute what a key does not describe."""
    for package, version in expected.items():
        if (here := _version(package)) != version:
            raise InputError(
                f"on: a worker has {package} {here or 'not installed'}, and this study runs with {version}; "
                "install the same versions on all machines"
            )


def _own_probes(cells: Sequence[Cell]) -> list[Any]:
    """Return the probes of these cells that are not featx's own."""
    from featx.methods.probes import get_probe

    named = set()
    for cell in cells:
        if isinstance(cell.method, AdaptedProbe):
            named.add((cell.method.classifier, cell.rows.task))
        elif isinstance(cell.method, ProbeMethod):
            named.add((cell.method.name, cell.rows.task))
    probes = [get_probe(name, task) for name, task in sorted(named)]
    return [one for one in probes if not getattr(one.build, "__module__", "").startswith("featx.")]


def _add_probes(probes: Sequence[Any]) -> None:
    """Make probes known in this process, in place of others with their names."""
    from featx.methods.probes.table import CLASSIFIERS, REGRESSORS

    for probe in probes:
        (CLASSIFIERS if probe.task == "classes" else REGRESSORS)[probe.name] = probe


@contextmanager
def threads_of(cells: Sequence[Cell], count: int = 1) -> Iterator[None]:
    """Limit all cells to `count` threads of BLAS and, where a network is trained, of torch."""
    with limit_threads(count):
        if not any(isinstance(cell.method, FineTuning) for cell in cells):
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
