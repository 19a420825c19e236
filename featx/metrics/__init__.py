"""Is one method better than another, and how sure is a number?

========================  ==================================================================================
`intervals`               how sure a number is: over test images, over draws
`paired`                  two methods on the same test images
`repeated`                two methods on repeated splits of the same images
`families`                many tests at once
`ranks`                   many methods on many datasets
`effects`                 how large a difference is, whatever the number of images
========================  ==================================================================================
"""

from featx.metrics.effects import cohens_d_z, cohens_g, cohens_h, matched_odds_ratio
from featx.metrics.families import holm, holm_over_pairs
from featx.metrics.intervals import (
    FEW_DRAWS,
    bootstrap_interval,
    interval_over_draws,
    t_interval,
)
from featx.metrics.paired import (
    PairedErrors,
    PairedTest,
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    sign_flip_test,
)
from featx.metrics.ranks import (
    RankComparison,
    compare_over_datasets,
    critical_difference,
    rank_methods,
)
from featx.metrics.repeated import (
    ResampledTest,
    corrected_interval,
    corrected_resampled_t_test,
)

__all__ = [
    "FEW_DRAWS",
    "PairedErrors",
    "PairedTest",
    "RankComparison",
    "ResampledTest",
    "bootstrap_interval",
    "cohens_d_z",
    "cohens_g",
    "cohens_h",
    "compare_over_datasets",
    "corrected_interval",
    "corrected_resampled_t_test",
    "critical_difference",
    "holm",
    "holm_over_pairs",
    "interval_over_draws",
    "matched_odds_ratio",
    "mcnemar_exact",
    "mcnemar_mid_p",
    "paired_difference",
    "rank_methods",
    "sign_flip_test",
    "t_interval",
]
