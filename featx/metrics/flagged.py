"""Compute how many new normal images a threshold from held-out scores flags, and how likely so many are.

The share of new normal images below the k-th lowest of n held-out scores differs from threshold to threshold:
it has the distribution Beta(k, n + 1 - k). With m new images, the number below is beta-binomial (V. Vovk,
"Conditional validity of inductive conformal predictors", Machine Learning 92 (2013), section 3).
"""

from __future__ import annotations

from featx.metrics.intervals import Interval


def share_flagged(n: int, contamination: float, level: float = 0.95) -> Interval:
    """Return the share of new normal images that is flagged, and where it lies for `level` of all thresholds.

    Parameters
    ----------
    n : int
        Number of normal images (or units of them) whose held-out scores set the threshold.
    contamination : float
        The share wanted; with n < 1 / contamination - 1 the share is 1 / (n + 1), which is more.
    level : float, default=0.95
    """
    from scipy.stats import beta

    a, b = _parameters(n, contamination)
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], a, b)
    return Interval(a / (a + b), float(low), float(high))


def flagged_by_chance(found: int, m: int, n: int, contamination: float) -> float:
    """Return the probability that `found` of `m` new images are flagged, or more, if all are normal."""
    from scipy.stats import betabinom

    return float(betabinom.sf(found - 1, m, *_parameters(n, contamination)))


def _parameters(n: int, contamination: float) -> tuple[float, float]:
    """Return a and b of Beta(a, b), for a threshold that may lie between two scores."""
    k = max(1.0, contamination * (n + 1))
    return k, n + 1 - k
