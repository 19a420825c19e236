"""Decide which estimator of a probe is fitted, to which rows, and from which settings it is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.methods.probes.large_sets import SAMPLE, fits_in_blocks
from featx.methods.probes.probe import INPUT, Probe, Variant
from featx.methods.probes.row_blocks import RowBlocks
from featx.methods.probes.selection import expand
from featx.methods.probes.table import get_probe
from featx.methods.probes.targets import describe_problem, target_of
from featx.methods.probes.training_rows import TrainingRows


@dataclass
class FitPlan:
    """What is to be fitted, and to which rows."""

    probe: Probe
    own: bool  # whether the estimator is one of the user
    estimator: Any
    candidates: list[dict[str, Any]]
    rows: TrainingRows
    target: Any
    validation: np.ndarray | None
    metric: str
    jobs: int
    notes: list[str]
    variant: Variant | None = None


def plan_fit(name, estimator, grid, rows: TrainingRows, validation, metric: str, jobs: int) -> FitPlan:
    """Decide which estimator is fitted, and whether to all rows or to a sample."""
    task, target = rows.task, target_of(rows.task, rows.seed)
    notes: list[str] = []
    if estimator is not None:
        if isinstance(rows.X, RowBlocks):
            # What an estimator of the user can do is not known; the user has decided on all rows.
            notes.append(f"all {len(rows)} training {INPUT}s are in memory, for an estimator of your own")
            rows = rows.take(np.arange(len(rows)))
        calibrated = task == "classes" and not hasattr(estimator, "predict_proba")
        probe = Probe(name, name, lambda _: (estimator, {}), task, calibrated=calibrated)
        return FitPlan(
            probe, True, estimator, expand(grid or {}), rows, target, validation, metric, jobs, notes
        )
    probe, n = get_probe(name, task), len(rows)
    problem, drawn = describe_problem(target, probe, rows.y, rows.X.shape[1])
    estimator, grid = probe.build(problem)
    why = ""
    if drawn is None and isinstance(rows.X, RowBlocks) and (probe.choose or not fits_in_blocks(estimator)):
        drawn, why = target.sample(rows.y, SAMPLE), f": {probe.name} needs all rows in memory"
    if drawn is not None:
        notes.append(f"fitted on a {target.sample_name} of {len(drawn)} of {n} training {INPUT}s{why}")
        validation = None if validation is None else np.flatnonzero(np.isin(drawn, validation))
        rows = rows.take(drawn)
        problem = target.problem(rows.y, len(rows), rows.X.shape[1])
        estimator, grid = probe.build(problem)
    variant = None if probe.variant is None else probe.variant(problem)
    notes += [] if variant is None else [variant.note]
    return FitPlan(
        probe, False, estimator, expand(grid), rows, target, validation, metric, jobs, notes, variant
    )
