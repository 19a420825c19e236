"""Compare two methods on repeated random splits of the same images.

Splits of one dataset share most of their training and test images, so their results are not independent:
they vary less than results on fresh data, and a plain t-test finds differences that do not exist.
"""

from __future__ import annotations

import math

import numpy as np

from featx.errors import InputError
from featx.metrics.effects import cohens_d_z
from featx.metrics.intervals import Interval, check_level, clip_interval, finite_values, student_interval
from featx.metrics.paired import DifferenceTest


def corrected_resampled_t_test(differences, *, n_train: float, n_test: float) -> DifferenceTest:
    """Test differences over repeated splits by the corrected resampled t-test.

    With the mean m and variance s^2 of the differences on J splits, the statistic is

        t = m / sqrt((1/J + n_test/n_train) s^2),

    with J - 1 degrees of freedom. The plain t-test has 1/J alone: with enough splits it would call any
    difference significant.

    Parameters
    ----------
    differences : array-like of shape (J,)
        The score of method a less that of b, on each split.
    n_train, n_test : float
        Training and test images of each split; their means where they vary. An `n_test` of 0 gives the plain
        t-test.

    Returns
    -------
    DifferenceTest
        The interval has the same correction. Differences that are all equal do not tell how much they may
        vary: the p-value is 1, and the bounds are NaN. With a single split the p-value is NaN, too.

    Raises
    ------
    InputError
        There are no differences, some are not finite, or `n_train` or `n_test` is out of range.

    References
    ----------
    C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003), eq. 9 and
    section 5; for repeated splits, R. R. Bouckaert and E. Frank, "Evaluating the replicability of
    significance tests for comparing learning algorithms", PAKDD (2004).

    Examples
    --------
    >>> test = corrected_resampled_t_test([0.01, 0.02, 0.00, 0.03, 0.02], n_train=75, n_test=25)
    >>> round(test.p_value, 4)
    0.127
    """
    from scipy.stats import t as student

    d = finite_values(differences)
    share = _share(len(d), n_train, n_test)
    interval = student_interval(d, share, 0.95)
    if len(d) == 1:
        return DifferenceTest(math.nan, interval.value)
    error = math.sqrt(share * float(d.var(ddof=1)))
    # A spread of rounding errors only counts as 0.
    if error > 1e-12 * float(np.abs(d).max()):
        p_value = 2 * float(student.sf(abs(interval.value) / error, len(d) - 1))
    else:
        # Equal differences do not tell how much they may vary, so no difference is shown.
        p_value, interval = 1.0, Interval(interval.value)
    return DifferenceTest(p_value, interval.value, interval.low, interval.high, cohens_d_z(d))


def corrected_interval(
    values,
    *,
    n_train: float,
    n_test: float,
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Return the mean over repeated splits with the interval that matches `corrected_resampled_t_test`.

    The bounds are m -+ t(J - 1; (1 + level)/2) sqrt((1/J + n_test/n_train) s^2). With more splits the
    interval does not shrink to 0.

    Parameters
    ----------
    values : array-like of shape (J,)
        The score on each split.
    n_train, n_test : float
        As in `corrected_resampled_t_test`.
    level : float, default=0.95
        Coverage.
    within : (float, float), optional
        Range of possible values, such as (0, 1) for an accuracy; the interval is clipped to it.

    Returns
    -------
    Interval
        With a single split, or scores that are all equal, the bounds are NaN.

    Raises
    ------
    InputError
        As in `corrected_resampled_t_test`, or `level` is out of range.
    """
    x = finite_values(values)
    check_level(level)
    found = student_interval(x, _share(len(x), n_train, n_test), level)
    if not found.high - found.low > 1e-12 * float(np.abs(x).max()):
        return Interval(found.value)
    return clip_interval(found, within)


def _share(n_splits: int, n_train: float, n_test: float) -> float:
    """Return the corrected share of the variance, 1/J + n_test/n_train."""
    if not (n_train > 0 and 0 <= n_test < math.inf):
        raise InputError(
            f"n_train must be above 0 and n_test 0 or more images, got {n_train!r} and {n_test!r}"
        )
    return 1 / n_splits + n_test / n_train
