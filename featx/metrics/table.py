"""List the metrics of every task.

Scoring, tables, reports, repeated splits, curves and ranks read this table. A new metric is one more entry in
the list of its task: `featx.metrics.classes`, `numbers` or `anomalies`. None of these loads SciPy before it
computes something.
"""

from __future__ import annotations

from featx.metrics import anomalies, classes, numbers
from featx.metrics.metric import Metric

#: Every metric by its name, in the order in which tables show them.
METRICS: dict[str, Metric] = {
    metric.name: metric for task in (classes, numbers, anomalies) for metric in task.METRICS
}


def names_for(task: str) -> tuple[str, ...]:
    """Return the names of the metrics of a kind of task, in their order."""
    return tuple(name for name, metric in METRICS.items() if metric.task == task)
