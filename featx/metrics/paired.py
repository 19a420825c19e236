"""Test whether one method is better than another on the same test images.

The methods are compared image by image. Images that both get right, or both wrong, say nothing about the
difference; if the methods are equally good, each gets right about half of the others.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from featx.errors import InputError
from featx.metrics.effects import cohens_d_z, cohens_g
from featx.metrics.intervals import Interval, bootstrap_interval, check_bootstrap


@dataclass(frozen=True)
class PairedTest:
    """The comparison of two methods, a and b, on the same images.

    Attributes
    ----------
    p_value : float
        Two-sided p-value of McNemar's test: the probability of a division of the disagreements at least as
        uneven, if the methods were equally good.
    difference : float
        Top-1 accuracy of a less that of b.
    n_only_a, n_only_b : int
        Number of images that only a, or only b, gets right.
    low, high : float
        95 % paired bootstrap interval of the difference.
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


def mcnemar_exact(correct_a, correct_b, *, n_boot: int = 10_000, seed: int = 0) -> PairedTest:
    """Test by McNemar's exact test: a binomial test on the images that only one method gets right.

    Parameters
    ----------
    correct_a, correct_b : array-like of shape (n,), bool
        Whether each method gets each image right, in the same order.
    n_boot, seed
        As in `paired_difference`.

    Returns
    -------
    PairedTest
        With a p-value of 1 where the methods never disagree.

    Raises
    ------
    InputError
        The arrays differ in length, are empty, or are not boolean, or `n_boot` is not positive.

    References
    ----------
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947).

    Examples
    --------
    >>> mcnemar_exact([True] * 6 + [False], [False] * 6 + [False]).p_value
    0.03125
    """
    from scipy.stats import binomtest

    a, b = _pair(correct_a, correct_b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    disagree = only_a + only_b
    p_value = float(binomtest(only_a, disagree, 0.5).pvalue) if disagree else 1.0
    interval = paired_difference(a, b, n_boot=n_boot, seed=seed)
    return PairedTest(p_value, interval.value, only_a, only_b, interval.low, interval.high)


def mcnemar_mid_p(correct_a, correct_b, *, n_boot: int = 10_000, seed: int = 0) -> PairedTest:
    """Test by McNemar's mid-p value: the exact p-value less half the probability of what was observed.

    The exact test rejects less often than its level, because few disagreements leave few possible p-values:
    at 5 % it rejects 2.1 % of true null hypotheses with 10 disagreements, 4.1 % with 20, and 3.3 % with 50.
    The mid-p value is closer to 5 % on average, and may exceed it a little (6.5 % with 50).

    Parameters
    ----------
    correct_a, correct_b, n_boot, seed
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
    from scipy.stats import binom

    exact = mcnemar_exact(correct_a, correct_b, n_boot=n_boot, seed=seed)
    disagree = exact.n_only_a + exact.n_only_b
    if exact.n_only_a == exact.n_only_b:
        # An even division is its own mirror image, so both tails share it: it is counted once.
        p_value = 1.0 - float(binom.pmf(exact.n_only_a, disagree, 0.5)) / 2 if disagree else 1.0
    else:
        p_value = exact.p_value - float(binom.pmf(exact.n_only_a, disagree, 0.5))
    return replace(exact, p_value=p_value)


def paired_difference(
    correct_a, correct_b, *, n_boot: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the difference in top-1 accuracy, a less b, with a paired percentile bootstrap interval.

    Parameters
    ----------
    correct_a, correct_b
        As in `mcnemar_exact`.
    n_boot : int, default=10000
        Resamples of images.
    level : float, default=0.95
        Coverage.
    seed : int, default=0
        Seed of the resamples.

    Returns
    -------
    Interval
        Swapping a and b changes its sign only, up to the randomness of resampling.

    Raises
    ------
    InputError
        As in `mcnemar_exact`, or `level` is out of range.
    """
    a, b = _pair(correct_a, correct_b)
    check_bootstrap(n_boot, level)
    n = len(a)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    # Each image adds 1, -1 or 0: a resample is three multinomial counts, whatever n is.
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=n_boot)
    tails = [50 * (1 - level), 50 * (1 + level)]
    low, high = np.percentile((counts[:, 0] - counts[:, 1]) / n, tails)
    return Interval((only_a - only_b) / n, float(low), float(high))


def sign_flip_test(
    errors_a, errors_b, *, n_flips: int = 9_999, n_boot: int = 2000, seed: int = 0
) -> DifferenceTest:
    """Test paired differences of absolute errors by Fisher's randomisation test.

    If the methods are equally good, the two errors of an image could as well be swapped: every difference d_i
    may change its sign. The p-value is the share of all 2^n sign vectors s, or of `n_flips` random ones and
    the observed one, with ``|sum s_i d_i| >= |sum d_i|``.

    Parameters
    ----------
    errors_a, errors_b : array-like of shape (n,)
        Absolute error of each method on each image, in the same order.
    n_flips : int, default=9999
        Sign vectors drawn; all 2^n are used where there are no more.
    n_boot : int, default=2000
        Resamples of images for the interval of the difference.
    seed : int, default=0
        Seed of the signs and of the resamples.

    Returns
    -------
    DifferenceTest
        With a p-value of 1 where the errors never differ; it is never 0.

    Raises
    ------
    InputError
        The arrays differ in length, are empty or not finite, or `n_flips` or `n_boot` is not positive.

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
    interval = bootstrap_interval(d, n_boot=n_boot, seed=seed)
    changing = d[d != 0]
    n, total = len(changing), abs(float(changing.sum()))
    # Sums that differ by rounding errors only count as equal.
    least = total - 1e-9 * float(np.abs(changing).sum())
    if n < 60 and 2**n <= n_flips + 1:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        p_value = float((np.abs(signs @ changing) >= least).mean())
    else:
        # `scipy.stats.permutation_test` draws the same kind of sample, and takes 12 to 25 times as long.
        rng = np.random.default_rng(seed)
        step = max(1, 4_000_000 // n)
        hits = 0
        for done in range(0, n_flips, step):
            signs = rng.integers(0, 2, (min(step, n_flips - done), n), dtype=np.int8)
            hits += int((np.abs(2 * (signs @ changing) - changing.sum()) >= least).sum())
        p_value = (hits + 1) / (n_flips + 1)
    return DifferenceTest(p_value, interval.value, interval.low, interval.high, cohens_d_z(d))


def _pair(correct_a, correct_b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(
            "two methods are compared on the same images, at least one: "
            f"got results of shape {a.shape} and {b.shape}"
        )
    if a.dtype != bool or b.dtype != bool:
        raise InputError(f"results must be boolean (right or wrong), got {a.dtype} and {b.dtype}")
    return a, b
