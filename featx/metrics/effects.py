"""Measure how large a difference is, independently of the number of images (a p-value depends on it).

Effect sizes are signed: above 0 (an odds ratio: above 1) the first method has the larger value.
"""

from __future__ import annotations

import math

import numpy as np

from featx.errors import InputError
from featx.metrics.intervals import finite_values


def cohens_h(p_a: float, p_b: float) -> float:
    """Return the distance of two proportions, 2 asin(sqrt(p_a)) - 2 asin(sqrt(p_b)).

    0.98 to 0.99 is a larger step than 0.50 to 0.51: it halves the errors. The pairing is not used, so the
    accuracies may come from different test sets.

    Parameters
    ----------
    p_a, p_b : float
        Two accuracies.

    Returns
    -------
    float
        Between -pi and pi; 0.2 is called small, 0.5 medium, 0.8 large.

    Raises
    ------
    InputError
        A proportion is not between 0 and 1.

    References
    ----------
    J. Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd ed. (1988), eq. 6.2.1.

    Examples
    --------
    >>> round(cohens_h(0.99, 0.98), 3), round(cohens_h(0.51, 0.50), 3)
    (0.083, 0.02)
    """
    for p in (p_a, p_b):
        if not 0 <= p <= 1:
            raise InputError(f"a proportion lies between 0 and 1, got {p!r}")
    return 2 * math.asin(math.sqrt(p_a)) - 2 * math.asin(math.sqrt(p_b))


def cohens_g(n_only_a: int, n_only_b: int) -> float:
    """Return the effect size of McNemar's test, n_a / (n_a + n_b) - 1/2.

    Parameters
    ----------
    n_only_a, n_only_b : int
        Number of images that only method a, or only b, gets right.

    Returns
    -------
    float
        Between -0.5 and 0.5, 0 where they never disagree; 0.05 is called small, 0.15 medium, 0.25 large.

    References
    ----------
    J. Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd ed. (1988), eq. 5.2.1.
    """
    _check_counts(n_only_a, n_only_b)
    n = n_only_a + n_only_b
    return n_only_a / n - 0.5 if n else 0.0


def matched_odds_ratio(n_only_a: int, n_only_b: int) -> float:
    """Return n_a / n_b, the odds that an image on which two methods disagree is one that a gets right.

    Parameters
    ----------
    n_only_a, n_only_b : int
        As in `cohens_g`.

    Returns
    -------
    float
        Infinite where n_b is 0, NaN where both are.

    References
    ----------
    N. Breslow and N. E. Day, "Statistical Methods in Cancer Research" 1 (1980), eq. 5.3.
    """
    _check_counts(n_only_a, n_only_b)
    if n_only_b:
        return n_only_a / n_only_b
    return math.inf if n_only_a else math.nan


def cohens_d_z(differences) -> float:
    """Return the mean of paired differences over their standard deviation (n - 1 in its denominator).

    Parameters
    ----------
    differences : array-like of shape (n,)
        Method a less b, on each test image or split.

    Returns
    -------
    float
        0.2 is called small, 0.5 medium, 0.8 large. 0 where all differences are 0, infinite where they are
        equal and not 0, NaN where there is only one.

    Raises
    ------
    InputError
        There are no differences, or some are not finite.

    References
    ----------
    J. Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd ed. (1988), eq. 2.3.5; D. Lakens,
    "Calculating and reporting effect sizes to facilitate cumulative science", Frontiers in Psychology 4
    (2013), eq. 6.
    """
    d = finite_values(differences)
    if len(d) == 1:
        return math.nan
    mean, spread = float(d.mean()), float(d.std(ddof=1))
    if spread > 1e-12 * float(np.abs(d).max()):
        return mean / spread
    return math.copysign(math.inf, mean) if d.any() else 0.0


def _check_counts(*counts: int) -> None:
    if min(counts) < 0:
        raise InputError(f"counts of images must be 0 or more, got {counts}")
