"""Score methods, and say how certain a score or a difference is.

======================  ================================================================================
`metric`                what describes a metric
`classes`               metrics of predicted classes; `answers` reduces probabilities to what they need
`numbers`               metrics of predicted numbers
`anomalies`             metrics of anomaly detectors
`intervals`             intervals of a score, over test images or over draws
`paired`                tests of two methods on the same test images
`repeated`              tests of two methods on repeated splits of the same images
`families`              p-values of many tests
`ranks`                 many methods on many datasets
`effects`               sizes of differences
======================  ================================================================================

A new metric is one more entry of ``METRICS`` in the module of its task. Tables, reports, repeated splits,
curves and ranks read the table here. SciPy is imported by the functions that need it, because reading this
table must stay fast.
"""

from __future__ import annotations

from featx.metrics import anomalies, classes, numbers
from featx.metrics.anomalies import AnomalyScores, score_anomalies
from featx.metrics.answers import Answers, predict_answers, take_answers
from featx.metrics.classes import score_answers
from featx.metrics.effects import cohens_d_z, cohens_g, cohens_h, matched_odds_ratio
from featx.metrics.families import holm, holm_over_pairs
from featx.metrics.intervals import FEW_DRAWS, Interval, bootstrap_interval, interval_over_draws, t_interval
from featx.metrics.metric import Metric
from featx.metrics.numbers import score_numbers
from featx.metrics.paired import (
    DifferenceTest,
    PairedTest,
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    sign_flip_test,
)
from featx.metrics.ranks import RankComparison, critical_difference, rank_methods
from featx.metrics.repeated import corrected_interval, corrected_resampled_t_test

__all__ = [
    "FEW_DRAWS",
    "METRICS",
    "AnomalyScores",
    "Answers",
    "DifferenceTest",
    "Interval",
    "Metric",
    "PairedTest",
    "RankComparison",
    "bootstrap_interval",
    "cohens_d_z",
    "cohens_g",
    "cohens_h",
    "corrected_interval",
    "corrected_resampled_t_test",
    "critical_difference",
    "holm",
    "holm_over_pairs",
    "interval_over_draws",
    "matched_odds_ratio",
    "mcnemar_exact",
    "mcnemar_mid_p",
    "names_for",
    "paired_difference",
    "predict_answers",
    "rank_methods",
    "score_anomalies",
    "score_answers",
    "score_numbers",
    "sign_flip_test",
    "t_interval",
    "take_answers",
]

#: Every metric by name, in the order in which tables show them.
METRICS: dict[str, Metric] = {
    metric.name: metric for task in (classes, numbers, anomalies) for metric in task.METRICS
}


def names_for(task: str) -> tuple[str, ...]:
    """Return the names of the metrics of a task, in their order."""
    return tuple(name for name, metric in METRICS.items() if metric.task == task)
