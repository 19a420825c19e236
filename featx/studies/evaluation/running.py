"""Run cells: take finished ones from the checkpoints; compute the others and keep each at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from queue import Empty, SimpleQueue
from typing import Any

from featx.clusters import Cluster
from featx.energy import Meter
from featx.errors import InputError
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation.cells import Cell
from featx.studies.evaluation.cost import Size, reference_seconds
from featx.studies.evaluation.fine_tuning import FineTuning
from featx.studies.evaluation.methods import Fit
from featx.studies.evaluation.on_cluster import compute_on, threads_of
from featx.studies.evaluation.outcomes import Outcome
from featx.studies.evaluation.time_left import StudyProgress
from featx.studies.evaluation.tuning_forecast import TuningForecast
from featx.threads import limit_threads

#: Seconds after which the main thread looks for Ctrl-C, on systems where a wait cannot be interrupted.
_LOOK = 0.2


def run_cells(
    cells: Sequence[Cell],
    checkpoints: Checkpoints | None = None,
    *,
    meter: Meter | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
    progress: StudyProgress | None = None,
    cluster: Cluster | None = None,
) -> Iterator[Outcome]:
    """Run cells one after another, each on all cores (or `n_jobs`), and yield each outcome when it is ready.

    Without `checkpoints` all are computed and none is kept. `meter` measures the energy of each fit;
    `verbose` shows the progress of these cells; or `progress` that of a study of which they are a part. On a
    `cluster` all run at once before the first is yielded, without `meter`, and no outcome has its fit.
    """
    if progress is None:
        kept = Checkpoints() if checkpoints is None else checkpoints
        with StudyProgress(cells, kept, enabled=verbose, cluster=cluster) as progress:
            yield from run_cells(
                cells, checkpoints, meter=meter, n_jobs=n_jobs, progress=progress, cluster=cluster
            )
        return
    if cluster is not None:
        checkpoints = Checkpoints() if checkpoints is None else checkpoints
        compute_missing(cluster, cells, checkpoints, progress)
    for cell in cells:
        record, fit = fetch_record(cell, checkpoints, meter=meter, n_jobs=n_jobs, progress=progress)
        made = None if checkpoints is None else checkpoints.made(cell.key)
        yield Outcome.of(cell.method, record, cell.rows.n_classes, earlier_run=made, fit=fit)


def compute_missing(
    cluster: Cluster, cells: Sequence[Cell], checkpoints: Checkpoints, progress: StudyProgress | None = None
) -> None:
    """Compute on a cluster the cells that are not in the checkpoints, and keep their records there."""
    # Two cells with one key are the same work.
    missing = {cell.key: cell for cell in cells if not is_kept(cell, checkpoints)}
    for _ in compute_on(cluster, _in_groups(list(missing.values()), cluster.cores), checkpoints, progress):
        pass


def is_kept(cell: Cell, checkpoints: Checkpoints) -> bool:
    """Whether a valid record of the cell is in the checkpoints."""
    return checkpoints.get(cell.key, cell.is_valid, cell.most_bytes) is not None


def fetch_record(
    cell: Cell,
    checkpoints: Checkpoints | None,
    *,
    meter: Meter | None = None,
    n_jobs: int | None = None,
    progress: StudyProgress | None = None,
) -> tuple[dict[str, Any], Fit | None]:
    """Return the record of a cell from the checkpoints; or run the cell, and return its fit as well."""
    found = None if checkpoints is None else checkpoints.get(cell.key, cell.is_valid, cell.most_bytes)
    if found is not None:
        return found, None
    with progress.computing(cell) if progress else nullcontext():
        record, fit = cell.run(n_jobs=n_jobs, meter=meter)
        return (record if checkpoints is None else checkpoints.add(cell.key, record)), fit


def run_cells_in_parallel(
    cells: Sequence[Cell],
    checkpoints: Checkpoints,
    *,
    n_jobs: int | None = None,
    verbose: bool = False,
    cluster: Cluster | None = None,
    checks: Sequence[Size] = (),
) -> list[Outcome]:
    """Run many small cells in threads, `n_jobs` at a time (default: one for each core), in their order.

    Each cell computes on one thread, so that the numbers do not depend on `n_jobs`; `verbose` shows progress,
    and counts the data `checks` that follow in the time left.
    The cells of a split run one after another in one thread, where they share the work on its rows. Or they
    run on a `cluster`, in the same way.
    """
    jobs = _jobs(n_jobs) if cluster is None else cluster.cores
    forecast = _forecast(cells) if verbose else None
    with StudyProgress(
        cells,
        checkpoints,
        checks=checks,
        at_once=jobs,
        cluster=cluster,
        enabled=verbose,
        forecast=forecast,
    ) as progress:
        records = {cell.key: checkpoints.get(cell.key, cell.is_valid, cell.most_bytes) for cell in cells}
        # Two levels with the same images are one cell.
        missing = {cell.key: cell for cell in cells if records[cell.key] is None}

        def work(cell: Cell) -> dict[str, Any]:
            with limit_threads(1), progress.computing(cell):
                return checkpoints.add(cell.key, cell.run(n_jobs=1)[0])

        groups = _in_groups(list(missing.values()), jobs)
        if cluster is not None:
            records |= {
                c.key: found for c, found in compute_on(cluster, groups, checkpoints, progress, threads=1)
            }
        else:
            with threads_of(list(missing.values())):
                records |= {c.key: found for c, found in _compute(groups, work, jobs)}
    return [
        Outcome.of(c.method, records[c.key], c.rows.n_classes, earlier_run=checkpoints.made(c.key))
        for c in cells
    ]


def _forecast(cells: Sequence[Cell]) -> TuningForecast | None:
    """Return the forecast of the fine-tuned cells, which share their settings; None where there are none."""
    setups = (cell.method.setup for cell in cells if isinstance(cell.method, FineTuning))
    setup = next(setups, None)
    return None if setup is None else TuningForecast(setup, threads=1)


def _in_groups(cells: Sequence[Cell], jobs: int) -> list[list[Cell]]:
    """Return the cells of each split together; the groups that take longest first, so that none is the last.

    With few splits for many threads each cell is a group of its own.
    """
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        # A cell of fine-tuning shares nothing; if it trains the network it takes long.
        alone = cell.key if isinstance(cell.method, FineTuning) else None
        groups.setdefault((id(cell.rows), cell.split.train.tobytes(), cell.seed, alone), []).append(cell)
    found = list(groups.values())
    if len(found) < 2 * jobs:
        found = [[cell] for cell in cells]
    return sorted(found, key=_effort, reverse=True)


def _effort(group: Sequence[Cell]) -> tuple[int, float]:
    sizes = [Size.of(cell) for cell in group]
    trained = max(len(cell.split.train) if _trains_network(cell) else 0 for cell in group)
    return trained, sum(reference_seconds(size) for size in sizes)


def _trains_network(cell: Cell) -> bool:
    return isinstance(cell.method, FineTuning) and cell.method.trains_network


def _compute(
    groups: Sequence[Sequence[Cell]], work: Callable[[Cell], dict[str, Any]], jobs: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Do `work` for each cell, the cells of a group one after another; yield each record when it is ready.

    Threads suffice, as linear algebra and convolutions release the GIL, and nothing has to be copied. If the
    caller stops, by Ctrl-C for example, no other cell is begun; those that run end and are kept, unless the
    process ends first.
    """
    if jobs == 1:
        for group in groups:
            for cell in group:
                yield cell, work(cell)
        return
    waiting = deque(groups)
    done: SimpleQueue[tuple[Cell, dict[str, Any]] | BaseException] = SimpleQueue()
    stopped = threading.Event()

    def run() -> None:
        try:
            while not stopped.is_set() and (group := _take(waiting)) is not None:
                for cell in group:
                    if not stopped.is_set():
                        done.put((cell, work(cell)))
        except BaseException as error:  # the caller raises it
            done.put(error)

    for number in range(min(jobs, len(groups))):
        threading.Thread(target=run, name=f"featx-cells-{number}", daemon=True).start()
    try:
        for _ in range(sum(map(len, groups))):
            found = _next(done)
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stopped.set()


def _take(waiting: deque[Sequence[Cell]]) -> Sequence[Cell] | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _next(done: SimpleQueue[Any]) -> Any:
    while True:
        try:
            return done.get(timeout=_LOOK)
        except Empty:
            continue


def _jobs(n_jobs: int | None) -> int:
    from featx.machine import cores

    if n_jobs in (None, -1):
        return cores()
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs < 1:
        raise InputError(f"n_jobs must be a positive number, -1 or None, got {n_jobs!r}")
    return n_jobs
