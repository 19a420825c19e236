"""All cells of the grid: what is finished is taken from the file of checkpoints, the rest is computed side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featx.errors import InputError
from featx.progress import Progress
from featx.studies.checkpoints import Checkpoints
from featx.studies.curves.cells import Cell


def run_cells(
    cells: Sequence[Cell], journal: Checkpoints, *, n_jobs: int | None = None, verbose: bool = False
) -> list[dict[str, Any]]:
    """The outcome of each cell, in their order.

    Parameters
    ----------
    cells : sequence of Cell
    journal : Checkpoints
        Each cell is kept there as soon as it is finished.
    n_jobs : int, optional
        Cells at a time, in threads; default: one a core. Each computes on one thread, so that the numbers
        do not depend on how many there are.
    verbose : bool, default=False
        Show progress on standard error.

    Returns
    -------
    list of dict
        As `Cell.run` gives them.
    """
    outcomes = {cell.key: journal.get(cell.key, Cell.fits) for cell in cells}
    # Levels of the same images make the same cell; and the longest first, so that none is left to the end.
    missing = {cell.key: cell for cell in cells if outcomes[cell.key] is None}
    order = sorted(missing.values(), key=_effort, reverse=True)
    with Progress(len(order), "fitting", unit="cell", enabled=verbose) as progress, _one_thread_each(order):
        for cell, outcome in _computed(order, _jobs(n_jobs)):
            outcomes[cell.key] = journal.add(cell.key, outcome)
            progress.update(1)
    return [outcomes[cell.key] for cell in cells]


def _computed(cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    from joblib import Parallel, delayed

    # Threads: linear algebra and convolutions leave the interpreter free, and nothing has to be copied.
    parallel = Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered", pre_dispatch=jobs)
    yield from parallel(delayed(_run)(cell) for cell in cells)


def _run(cell: Cell) -> tuple[Cell, dict[str, Any]]:
    return cell, cell.run()


def _effort(cell: Cell) -> tuple[bool, int]:
    return cell.tuning is not None and cell.mode != "head", cell.level.n_train


@contextmanager
def _one_thread_each(cells: Sequence[Cell]) -> Iterator[None]:
    """One thread of BLAS, of OpenMP and of torch for each cell."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        if not any(cell.tuning is not None for cell in cells):
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
