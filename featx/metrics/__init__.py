"""Say how good a method is, how sure that is, and whether it is better than another.

========================  ==================================================================================
`table`                   the metrics: names, titles, which way is better, how each is computed
`answers`                 what scoring needs of predicted probabilities
`classes`                 score predicted classes
`numbers`                 score predicted numbers
`anomalies`               score anomaly detectors
`interval`, `intervals`   how sure a number is: over test images, over draws
`paired`                  two methods on the same test images
`repeated`                two methods on repeated splits of the same images
`families`                many tests at once
`ranks`                   many methods on many datasets
`effects`                 how large a difference is, whatever the number of images
========================  ==================================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featx.metrics.anomalies import AnomalyScores, score_anomalies
from featx.metrics.answers import Answers, predict_answers, take_answers
from featx.metrics.classes import score_answers
from featx.metrics.interval import Interval
from featx.metrics.metric import Metric
from featx.metrics.numbers import score_numbers
from featx.metrics.table import METRICS, names_for

if TYPE_CHECKING:
    from featx.metrics.effects import cohens_d_z, cohens_g, cohens_h, matched_odds_ratio
    from featx.metrics.families import holm, holm_over_pairs
    from featx.metrics.intervals import FEW_DRAWS, bootstrap_interval, interval_over_draws, t_interval
    from featx.metrics.paired import (
        PairedErrors,
        PairedTest,
        mcnemar_exact,
        mcnemar_mid_p,
        paired_difference,
        sign_flip_test,
    )
    from featx.metrics.ranks import RankComparison, critical_difference, rank_methods
    from featx.metrics.repeated import ResampledTest, corrected_interval, corrected_resampled_t_test

__all__ = [
    "FEW_DRAWS",
    "METRICS",
    "AnomalyScores",
    "Answers",
    "Interval",
    "Metric",
    "PairedErrors",
    "PairedTest",
    "RankComparison",
    "ResampledTest",
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

#: Modules that need SciPy, loaded when one of their names is first used.
_LATER = ("families", "effects", "intervals", "paired", "repeated", "ranks")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for later in _LATER:
            module = importlib.import_module(f"featx.metrics.{later}")
            if hasattr(module, name):
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module 'featx.metrics' has no attribute {name!r}")
