"""Test whether one method is better than another on the same test images.

The methods are compared image by image. Images that both get right, or both wrong, say nothing about the
difference; if the methods are equally good, each gets right about half of the others.

With `units` (groups of images, copies of a picture) they are compared unit by unit: if the methods are
equally good, their answers to all images of a unit could as well be swapped, so that the sum of the
differences in a unit may change its sign. Without units, this is McNemar's exact test.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from featx.errors import InputError
from featx.metrics.differences import check_correct, paired_difference
from featx.metrics.effects import cohens_d_z, cohens_g
from featx.metrics.means import mean_interval
from featx.metrics.units import number_units, sum_by_unit

_TOGETHER = 4_000_000  # signs drawn at a time


@dataclass(frozen=True)
class PairedTest:
    """The comparison of two methods, a and b, on the same images.

    Attributes
    ----------
    p_value : float
        Two-sided p-value of McNemar's test: the probability of a division of the disagreements at least as
        uneven, if the methods were equally good; with units, of a sum over units at least as far from 0.
    difference : float
        Top-1 accuracy of a less that of b.
    n_only_a, n_only_b : int
        Number of images that only a, or only b, gets right.
    low, high : float
        95 % interval of the difference; see `paired_difference`.
    """

    p_value: float
    difference: float
    n_only_a: int
    n_only_b: int
    low: float = math.nan
    high: float = math.nan

    @property
    def effect(self) -> float:
        """Cohen's g of the disagreements; see `cohens_g`."""
        return cohens_g(self.n_only_a, self.n_only_b)

    def to_dict(self) -> dict[str, float]:
        """Return p-value, difference, bounds and effect, as ``results.json`` has them."""
        names = ("p_value", "difference", "low", "high", "effect")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class DifferenceTest:
    """The comparison of two methods, a and b, by the differences of a number on each image or each split.

    Attributes
    ----------
    p_value : float
        Two-sided p-value.
    difference : float
        Mean of a less mean of b.
    low, high : float
        95 % interval of the difference.
    effect : float
        Cohen's d_z of the differences; see `cohens_d_z`.
    """

    p_value: float
    difference: float
    low: float = math.nan
    high: float = math.nan
    effect: float = math.nan

    def to_dict(self) -> dict[str, float]:
        """Return the attributes, as ``results.json`` has them."""
        return asdict(self)


def mcnemar_exact(correct_a, correct_b, *, units=None) -> PairedTest:
    """Test by McNemar's exact test: a binomial test on the images that only one method gets right.

    With units, each unit u has the sum d_u of its differences (a right less b right), and the p-value is the
    probability of ``|sum s_u d_u| >= |sum d_u|`` for independent random signs s_u. It is computed from the
    exact distribution of the sum, not by drawing signs.

    Parameters
    ----------
    correct_a, correct_b : array-like of shape (n,), bool
        Whether each method gets each image right, in the same order.
    units : array-like of shape (n,), int, optional
        Unit of each image; default: each is its own.

    Returns
    -------
    PairedTest
        With a p-value of 1 where the methods never disagree.

    Raises
    ------
    InputError
        The arrays differ in length, are empty, or are not boolean, or `units` is not an integer for each
        image.

    References
    ----------
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947); for units, R. A. Fisher, "The Design of Experiments" (1935),
    section 21.

    Examples
    --------
    >>> mcnemar_exact([True] * 6 + [False], [False] * 6 + [False]).p_value
    0.03125
    >>> mcnemar_exact([True] * 6 + [False], [False] * 6 + [False], units=[0, 0, 1, 1, 2, 2, 3]).p_value
    0.25
    """
    a, b = check_correct(correct_a, correct_b)
    d = a.astype(np.int64) - b
    further, as_far = flip_probabilities(sum_by_unit(d, number_units(units, len(d))))
    interval = paired_difference(a, b, units=units)
    return PairedTest(
        further + as_far, interval.value, int((d > 0).sum()), int((d < 0).sum()), interval.low, interval.high
    )


def mcnemar_mid_p(correct_a, correct_b, *, units=None) -> PairedTest:
    """Test by McNemar's mid-p value: the exact p-value less half the probability of what was observed.

    The exact test rejects less often than its level, because few disagreements leave few possible p-values:
    at 5 % it rejects 2.1 % of true null hypotheses with 10 disagreements, 4.1 % with 20, and 3.3 % with 50.
    The mid-p value is closer to 5 % on average, and may exceed it a little (6.5 % with 50).

    Parameters
    ----------
    correct_a, correct_b, units
        As in `mcnemar_exact`.

    Returns
    -------
    PairedTest
        As in `mcnemar_exact`.

    Raises
    ------
    InputError
        As in `mcnemar_exact`.

    References
    ----------
    M. W. Fagerland, S. Lydersen and P. Laake, "The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional", BMC Medical Research Methodology 13:91 (2013).

    Examples
    --------
    >>> mcnemar_mid_p([True] * 6 + [False], [False] * 6 + [False]).p_value
    0.015625
    """
    exact = mcnemar_exact(correct_a, correct_b, units=units)
    d = np.asarray(correct_a).astype(np.int64) - np.asarray(correct_b)
    sums = sum_by_unit(d, number_units(units, len(d)))
    further, as_far = flip_probabilities(sums)
    return replace(exact, p_value=further + as_far / 2 if sums.any() else 1.0)


def flip_probabilities(sums: np.ndarray) -> tuple[float, float]:
    """Return how likely random signs make a sum further from 0 than the observed one, and exactly as far.

    k units with the same |d_u| = v add v (2 X - k), X binomial with k trials; the distribution of the whole
    sum is the convolution over the different v.

    Parameters
    ----------
    sums : ndarray of shape (n_units,)
        The difference of each unit, whole numbers.
    """
    from scipy.stats import binom

    sizes, counts = np.unique(np.abs(sums[sums != 0]).astype(np.int64), return_counts=True)
    distribution = np.ones(1)
    for v, k in zip(sizes, counts, strict=True):
        each = np.zeros(2 * v * k + 1)
        each[:: 2 * v] = binom.pmf(np.arange(k + 1), k, 0.5)
        distribution = np.convolve(distribution, each)
    # Place i holds the probability of the sum i - middle.
    middle = len(distribution) // 2
    total = abs(int(sums.sum()))
    if total == 0:
        return float(1 - distribution[middle]), float(distribution[middle])
    as_far = 2 * float(distribution[middle + total])
    # Rounding errors must not make a probability of more than 1.
    return min(2 * float(distribution[middle + total + 1 :].sum()), max(0.0, 1 - as_far)), min(1.0, as_far)


def sign_flip_test(errors_a, errors_b, *, units=None, n_flips: int = 9_999, seed: int = 0) -> DifferenceTest:
    """Test paired differences of absolute errors by Fisher's randomisation test.

    If the methods are equally good, the two errors of an image could as well be swapped: every difference d_i
    may change its sign. The p-value is the share of all 2^n sign vectors s, or of `n_flips` random ones and
    the observed one, with ``|sum s_i d_i| >= |sum d_i|``. With units, d_i is the sum over a unit.

    Parameters
    ----------
    errors_a, errors_b : array-like of shape (n,)
        Absolute error of each method on each image, in the same order.
    units : array-like of shape (n,), int, optional
        Unit of each image; default: each is its own.
    n_flips : int, default=9999
        Sign vectors drawn; all 2^n are used where there are no more.
    seed : int, default=0
        Seed of the signs.

    Returns
    -------
    DifferenceTest
        With a p-value of 1 where the errors never differ; it is never 0. The interval is
        Student's, over units: NaN where all differences are equal.

    Raises
    ------
    InputError
        The arrays differ in length, are empty or not finite, `units` is not an integer for each image, or
        `n_flips` is not positive.

    References
    ----------
    R. A. Fisher, "The Design of Experiments" (1935), section 21; for the drawn signs: B. Phipson and G. K.
    Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics and Molecular
    Biology 9 (2010), eq. 2.

    Examples
    --------
    >>> sign_flip_test([1, 1, 1, 1, 1], [0, 0, 0, 0, 0]).p_value
    0.0625
    """
    a, b = np.asarray(errors_a, np.float64), np.asarray(errors_b, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(
            "two methods are compared on the same images, at least one: "
            f"got errors of shape {a.shape} and {b.shape}"
        )
    d = a - b
    if not np.isfinite(d).all():
        raise InputError("errors must be finite numbers")
    if n_flips < 1:
        raise InputError(f"n_flips must be at least 1, got {n_flips}")
    interval = mean_interval(d, units=units, skewed=False)
    sums = sum_by_unit(d, number_units(units, len(d)))
    changing = sums[sums != 0]
    n, total = len(changing), abs(float(changing.sum()))
    # Sums that differ by rounding errors only count as equal.
    least = total - 1e-9 * float(np.abs(changing).sum())
    if n < 60 and 2**n <= n_flips + 1:
        p_value = float((np.abs(all_signs(n) @ changing) >= least).mean())
    else:
        # `scipy.stats.permutation_test` draws the same kind of sample, and takes 12 to 25 times as long.
        rng = np.random.default_rng(seed)
        step = max(1, _TOGETHER // n)
        hits = 0
        for done in range(0, n_flips, step):
            signs = rng.integers(0, 2, (min(step, n_flips - done), n), dtype=np.int8)
            hits += int((np.abs(2 * (signs @ changing) - changing.sum()) >= least).sum())
        p_value = (hits + 1) / (n_flips + 1)
    return DifferenceTest(p_value, interval.value, interval.low, interval.high, cohens_d_z(d))


def all_signs(n: int) -> np.ndarray:
    """Return every vector of n signs, ndarray of shape (2^n, n)."""
    return 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
