"""List the metrics: what each is called, which way is better, and what values it can have.

Scoring, tables, reports, repeated splits, curves and ranks read this table; a new metric is one entry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Attributes
    ----------
    name : str
        As in ``results.json``.
    title : str
        As tables and reports show it.
    higher_is_better : bool
    low, high : float
        Bounds of its values.
    task : {"classes", "numbers", "anomalies"}
        What is predicted.
    """

    name: str
    title: str
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    task: str = "classes"


#: Every metric by its name, in the order in which tables show them.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "top-1 accuracy"),
        Metric("balanced_accuracy", "balanced accuracy"),
        Metric("macro_precision", "macro precision"),
        Metric("macro_recall", "macro recall"),
        Metric("macro_f1", "macro F1"),
        Metric("log_loss", "log loss", higher_is_better=False, high=math.inf),
        Metric("calibration_error", "calibration error", higher_is_better=False),
        Metric("r2", "R²", low=-math.inf, task="numbers"),
        Metric("mae", "mean absolute error", higher_is_better=False, high=math.inf, task="numbers"),
        Metric("rmse", "root mean squared error", higher_is_better=False, high=math.inf, task="numbers"),
        Metric("spearman", "Spearman's rank correlation", low=-1.0, task="numbers"),
        Metric("auroc", "AUROC", task="anomalies"),
        Metric("fpr95", "false alarms at 95 % found", higher_is_better=False, task="anomalies"),
    )
}


def names_for(task: str) -> tuple[str, ...]:
    """Return the names of the metrics of a kind of task, in their order."""
    return tuple(name for name, metric in METRICS.items() if metric.task == task)
