"""Score methods, and say how certain a score or a difference is.

======================  ================================================================================
`metric`                what describes a metric
`classes`               metrics of predicted classes; `answers` reduces probabilities to what they need
`numbers`               metrics of predicted numbers
`anomalies`             metrics of anomaly detectors; `flagged` what their thresholds flag by chance
`units`                 groups of images and copies of a picture, which are not independent
`intervals`             an interval, its bounds and checks
`proportions`           intervals of shares and of other bounded scores over test images
`means`                 intervals of means over test images; `calibration` that of the calibration error
`paired`                tests of two methods on the same test images; `differences` their interval
`pairs`                 all pairs of many methods at once; `families` adjusts given p-values
`selection`             how much chance adds to the score of the best method
`repeated`              tests of two methods on repeated splits of the same images
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
from featx.metrics.differences import paired_difference
from featx.metrics.effects import cohens_d_z, cohens_g, cohens_h, matched_odds_ratio
from featx.metrics.families import holm, holm_over_pairs
from featx.metrics.flagged import flagged_by_chance, share_flagged
from featx.metrics.intervals import Interval
from featx.metrics.means import mean_interval
from featx.metrics.metric import Metric
from featx.metrics.numbers import score_numbers
from featx.metrics.paired import DifferenceTest, PairedTest, mcnemar_exact, mcnemar_mid_p, sign_flip_test
from featx.metrics.pairs import PairFamily, compare_pairs, compare_with_references
from featx.metrics.proportions import proportion_interval
from featx.metrics.ranks import RankComparison, critical_difference, rank_methods
from featx.metrics.repeated import corrected_interval, corrected_resampled_t_test
from featx.metrics.selection import selection_optimism

__all__ = [
    "METRICS",
    "AnomalyScores",
    "Answers",
    "DifferenceTest",
    "Interval",
    "Metric",
    "PairFamily",
    "PairedTest",
    "RankComparison",
    "cohens_d_z",
    "cohens_g",
    "cohens_h",
    "compare_pairs",
    "compare_with_references",
    "corrected_interval",
    "corrected_resampled_t_test",
    "critical_difference",
    "flagged_by_chance",
    "holm",
    "holm_over_pairs",
    "matched_odds_ratio",
    "mcnemar_exact",
    "mcnemar_mid_p",
    "mean_interval",
    "names_for",
    "paired_difference",
    "predict_answers",
    "proportion_interval",
    "rank_methods",
    "score_anomalies",
    "score_answers",
    "score_numbers",
    "selection_optimism",
    "share_flagged",
    "sign_flip_test",
    "take_answers",
]

#: Every metric by name, in the order in which tables show them.
METRICS: dict[str, Metric] = {
    metric.name: metric for task in (classes, numbers, anomalies) for metric in task.METRICS
}


def names_for(task: str) -> tuple[str, ...]:
    """Return the names of the metrics of a task, in their order."""
    return tuple(name for name, metric in METRICS.items() if metric.task == task)
