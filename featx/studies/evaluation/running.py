"""Run cells: take finished ones from the checkpoints; compute the others and keep each at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featx.energy import Meter
from featx.errors import InputError
from featx.progress import Progress
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation.cells import Cell
from featx.studies.evaluation.fine_tuning import FineTuning
from featx.studies.evaluation.methods import Fit
from featx.studies.evaluation.outcomes import Outcome
from featx.terminal import tell


def run_cells(
    cells: Sequence[Cell],
    checkpoints: Checkpoints | None = None,
    *,
    meter: Meter | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Iterator[Outcome]:
    """Run cells one after another, each on all cores (or `n_jobs`), and yield each outcome when it is ready.

    Without `checkpoints` all are computed and none is kept. `meter` measures the energy of each fit;
    `verbose` says what is being fitted.
    """
    for cell in cells:
        record, fit = fetch_record(cell, checkpoints, meter=meter, n_jobs=n_jobs, verbose=verbose)
        made = None if checkpoints is None else checkpoints.made(cell.key)
        yield Outcome.of(cell.method, record, cell.rows.n_classes, earlier_run=made, fit=fit)


def fetch_record(
    cell: Cell,
    checkpoints: Checkpoints | None,
    *,
    meter: Meter | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> tuple[dict[str, Any], Fit | None]:
    """Return the record of a cell from the checkpoints; or run the cell, and return its fit as well."""
    fit = None

    def work() -> dict[str, Any]:
        nonlocal fit
        if verbose:
            tell(cell.method.progress)
        record, fit = cell.run(n_jobs=n_jobs, meter=meter)
        return record

    if checkpoints is None:
        return work(), fit
    return checkpoints.get_or_run(cell.key, work, cell.is_valid, cell.most_bytes), fit


def run_cells_in_parallel(
    cells: Sequence[Cell], checkpoints: Checkpoints, *, n_jobs: int | None = None, verbose: bool = False
) -> list[Outcome]:
    """Run many small cells in threads, `n_jobs` at a time (default: one for each core), in their order.

    Each cell computes on one thread, so that the numbers do not depend on `n_jobs`; `verbose` shows progress.
    """
    from joblib import Parallel, delayed

    jobs = _jobs(n_jobs)
    records = {cell.key: checkpoints.get(cell.key, cell.is_valid, cell.most_bytes) for cell in cells}
    # Two levels with the same images are one cell. The longest go first, so that none starts at the end.
    missing = {cell.key: cell for cell in cells if records[cell.key] is None}
    order = sorted(missing.values(), key=_effort, reverse=True)
    # Threads suffice, as linear algebra and convolutions release the GIL, and nothing has to be copied.
    parallel = Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered", pre_dispatch=jobs)
    with Progress(len(order), "fitting", unit="cell", enabled=verbose) as progress, _one_thread_each(order):
        for cell, record in parallel(delayed(_run)(cell) for cell in order):
            records[cell.key] = checkpoints.add(cell.key, record)
            progress.update(1)
    return [
        Outcome.of(c.method, records[c.key], c.rows.n_classes, earlier_run=checkpoints.made(c.key))
        for c in cells
    ]


def _run(cell: Cell) -> tuple[Cell, dict[str, Any]]:
    return cell, cell.run(n_jobs=1)[0]


def _effort(cell: Cell) -> tuple[bool, int]:
    method = cell.method
    return isinstance(method, FineTuning) and method.on_images, len(cell.split.train)


@contextmanager
def _one_thread_each(cells: Sequence[Cell]) -> Iterator[None]:
    """Limit each cell to one thread of BLAS, of OpenMP and, where a network is trained, of torch."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        if not any(isinstance(cell.method, FineTuning) for cell in cells):
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _jobs(n_jobs: int | None) -> int:
    from featx.machine import cores

    if n_jobs in (None, -1):
        return cores()
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs < 1:
        raise InputError(f"n_jobs must be a positive number, -1 or None, got {n_jobs!r}")
    return n_jobs
