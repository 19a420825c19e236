"""Compare two methods on repeated random splits of the same images.

Splits of one dataset share most of their training images, and test images too, so their results are not
independent: their variance over splits is smaller than over fresh data, and a plain t-test on them finds
differences that are not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from scipy.stats import t as student

from featx.errors import InputError
from featx.metrics.effects import cohens_d_z
from featx.metrics.interval import Interval
from featx.metrics.intervals import check_level, cut, finite_values, student_interval


@dataclass(frozen=True)
class ResampledTest:
    """The comparison of two methods, a and b, on repeated splits.

    Attributes
    ----------
    p_value : float
        Two-sided; NaN of a single split.
    difference : float
        Mean over splits of a less b.
    low, high : float
        95 % interval of the difference, with the same correction.
    effect : float
        Cohen's d_z of the differences over splits.
    """

    p_value: float
    difference: float
    low: float
    high: float
    effect: float

    def to_dict(self) -> dict[str, float]:
        """Return the attributes, as ``results.json`` has them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def corrected_resampled_t_test(differences, *, n_train: float, n_test: float) -> ResampledTest:
    """Make the corrected resampled t-test.

    With the mean m and variance s^2 of J differences, one a split, the statistic is

        t = m / sqrt((1/J + n_test/n_train) s^2),

    to be read from Student's distribution with J - 1 degrees of freedom. The plain t-test has 1/J alone, so
    that enough splits would make any difference significant.

    Parameters
    ----------
    differences : array-like of shape (J,)
        The score of method a less that of b, on each split.
    n_train, n_test : float
        Images that train and that test in each split; their mean where it varies. An `n_test` of 0 gives the
        plain t-test.

    Returns
    -------
    ResampledTest
        Differences that are all alike give a p-value of 1 where they are 0, else of 0.

    Raises
    ------
    InputError
        There are no differences, some are not finite, or the sizes are no sizes.

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
    d = finite_values(differences)
    share = _share(len(d), n_train, n_test)
    interval = student_interval(d, share, 0.95)
    if len(d) == 1:
        return ResampledTest(math.nan, interval.value, math.nan, math.nan, math.nan)
    error = math.sqrt(share * float(d.var(ddof=1)))
    # A spread that is rounding alone is none.
    if error > 1e-12 * float(np.abs(d).max()):
        p_value = 2 * float(student.sf(abs(interval.value) / error, len(d) - 1))
    else:
        p_value = 0.0 if d.any() else 1.0
    return ResampledTest(p_value, interval.value, interval.low, interval.high, cohens_d_z(d))


def corrected_interval(
    values,
    *,
    n_train: float,
    n_test: float,
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Return the mean over repeated splits, with the interval that belongs to `corrected_resampled_t_test`.

    m -+ t(J - 1; (1 + level)/2) sqrt((1/J + n_test/n_train) s^2): where the score of a training set of this
    size lies, as far as splits of one dataset can tell. It does not shrink to nothing with more splits.

    Parameters
    ----------
    values : array-like of shape (J,)
        The score on each split.
    n_train, n_test : float
        As in `corrected_resampled_t_test`.
    level : float, default=0.95
        Coverage.
    within : (float, float), optional
        As in `interval_over_draws`.

    Returns
    -------
    Interval
        Of a single split the bounds are NaN.

    Raises
    ------
    InputError
        As `corrected_resampled_t_test`, or `level` is out of range.

    References
    ----------
    As `corrected_resampled_t_test`.
    """
    x = finite_values(values)
    check_level(level)
    return cut(student_interval(x, _share(len(x), n_train, n_test), level), within)


def _share(n_splits: int, n_train: float, n_test: float) -> float:
    if not (n_train > 0 and 0 <= n_test < math.inf):
        raise InputError(
            f"n_train must be above 0 and n_test 0 or more images, got {n_train!r} and {n_test!r}"
        )
    return 1 / n_splits + n_test / n_train
