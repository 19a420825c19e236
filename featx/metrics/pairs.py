"""Compare all pairs of methods on the same test images at once, by the largest statistic (max-T).

Any of the pairs might show a difference by chance. Holm's adjustment takes no account of how alike the
methods are, nor of how few p-values a small number of disagreements can have. The max-T method takes the
distribution of the largest statistic over all pairs from the same random signs for all of them, and so it
uses both. How often it found some difference among equally good methods, in 300 simulated comparisons where
5 % were allowed (``python tests/benchmarks/bench_null.py --only families``):

=======================================  ======  ======
images                                   Holm    max-T
=======================================  ======  ======
12 methods, 250 images, accuracy 0.95    0.3 %   3.7 %
12 methods, 1000 images, accuracy 0.9    1.7 %   3.7 %
5 methods, 1000 images, accuracy 0.9     1.7 %   3.3 %
5 methods, 50 groups of 5                3.7 %   6.0 %
5 methods, 25 groups of 20               0.3 %   4.7 %
=======================================  ======  ======

With d_u the difference of a pair in unit u (an image, where there are no units), the statistic of a pair is

    T = |sum d_u| / sqrt(sum d_u^2),

whose denominator no signs change. For right and wrong answers it is that of McNemar's test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from featx.errors import InputError
from featx.metrics.differences import pair_quantile, pair_size, tango_bounds
from featx.metrics.intervals import check_level
from featx.metrics.paired import flip_probabilities
from featx.metrics.units import count_images, number_units, sum_by_unit

POWER = 0.80
_TOGETHER = 2_000_000  # signs or statistics held at a time


@dataclass(frozen=True)
class PairFamily:
    """All pairs of m methods, compared together. Row i, column j: method i less method j.

    Attributes
    ----------
    p_value : ndarray of shape (m, m)
        Two-sided p-value of the pair alone: of `mcnemar_exact`, or of `sign_flip_test`.
    p_adjusted : ndarray of shape (m, m)
        Adjusted for all pairs by step-down max-T, never below `p_value`. Symmetric, 1 on the diagonal.
    difference : ndarray of shape (m, m)
        Mean score of method i less that of method j.
    low, high : ndarray of shape (m, m)
        Simultaneous intervals: all of them hold their true differences with a probability of `level`.
    critical : float
        What |T| exceeds in 1 - `level` of families of equally good methods, at least the quantile of a pair
        alone.
    detectable : ndarray of shape (m, m)
        Smallest true difference that T shows at `critical` with a power of 80 %, given how often the two
        disagree; NaN where scores that are not right or wrong never differ.
    """

    p_value: np.ndarray
    p_adjusted: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    critical: float
    detectable: np.ndarray


def compare_pairs(
    scores, *, units=None, n_flips: int = 9_999, level: float = 0.95, seed: int = 0
) -> PairFamily:
    """Compare all pairs of methods by step-down max-T over joint sign flips of units.

    Parameters
    ----------
    scores : array-like of shape (m, n), bool or float
        Whether each method gets each image right; or a score of each image, higher being better, such as a
        negative absolute error.
    units : array-like of shape (n,), int, optional
        Unit of each image; default: each is its own.
    n_flips : int, default=9999
        Sign vectors drawn.
    level : float, default=0.95
        Coverage of all intervals together.
    seed : int, default=0
        Seed of the signs.

    Returns
    -------
    PairFamily
        The intervals are Tango's (`paired_difference`) with `critical` in place of the normal quantile or,
        for numbers, mean -+ t s / sqrt(u), t being `critical` on the scale of Student's statistic.

    Raises
    ------
    InputError
        `scores` are not finite numbers of shape (m, n), m and n at least 1, `units` is not an integer for
        each image, `n_flips` is not positive, or `level` is out of range.

    References
    ----------
    P. H. Westfall and S. S. Young, "Resampling-based multiple testing" (1993), algorithm 2.8; J. P. Romano
    and M. Wolf, "Exact and approximate stepdown methods for multiple hypothesis testing", Journal of the
    American Statistical Association 100 (2005).
    """
    check_level(level)
    x, codes = _check_scores("scores", scores, units, n_flips)
    m, n = x.shape
    upper = np.triu_indices(m, 1)
    difference = x.mean(axis=1, dtype=np.float64)
    difference = difference[:, None] - difference
    p_value, p_adjusted = np.ones((m, m)), np.ones((m, m))
    low, high, detectable = np.zeros((m, m)), np.zeros((m, m)), np.zeros((m, m))
    sizes, sums = count_images(codes, n), sum_by_unit(x, codes)
    quantile = pair_quantile(sizes, n, level)
    pairs = _Pairs(sums, sums, *upper)
    drawn = pairs.draw(n_flips, seed)
    found = np.abs(pairs.observed)
    drawn = np.abs(drawn)
    if x.dtype == bool:
        exact = [sum(flip_probabilities(sums[i] - sums[j])) for i, j in zip(*upper, strict=True)]
        p_value[upper] = exact
    else:
        p_value[upper] = _shares_above(drawn, found)
    p_adjusted[upper] = np.maximum(p_value[upper], step_down(found, drawn))
    p_value.T[upper], p_adjusted.T[upper] = p_value[upper], p_adjusted[upper]
    critical = quantile
    if len(found):
        # A statistic equal to it is not above it, whatever rounding makes of the bounds.
        largest = float(np.quantile(drawn.max(axis=1), level, method="higher"))
        critical = max(critical, largest * (1 + 1e-6))
    describe = _describe_answers if x.dtype == bool else _describe_numbers
    low[upper], high[upper], detectable[upper] = describe(x, sums, sizes, upper, critical)
    low.T[upper], high.T[upper], detectable.T[upper] = -high[upper], -low[upper], detectable[upper]
    return PairFamily(p_value, p_adjusted, difference, low, high, critical, detectable)


def compare_with_references(
    scores, references, *, units=None, n_flips: int = 9_999, seed: int = 0
) -> np.ndarray:
    """Test whether each method is better than each reference, by one-sided step-down max-T over all of them.

    The probability that any method is called better than a reference without being so is at most 5 % where
    0.05 is the bound of the adjusted p-values, whichever methods are better than which references.

    Parameters
    ----------
    scores, references : array-like of shape (m, n) and (r, n), bool or float
        As in `compare_pairs`.
    units, n_flips, seed
        As in `compare_pairs`.

    Returns
    -------
    ndarray of shape (m, r)
        Adjusted p-values, never below the one-sided p-value of the pair alone.

    Raises
    ------
    InputError
        As in `compare_pairs`, or the two are not of the same images.
    """
    x, codes = _check_scores("scores", scores, units, n_flips)
    y, _ = _check_scores("references", references, units, n_flips)
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"scores and references must be of the same images, got {x.shape[1]} and {y.shape[1]}"
        )
    a, b = sum_by_unit(x, codes), sum_by_unit(y, codes)
    first, second = (index.ravel() for index in np.indices((len(x), len(y))))
    pairs = _Pairs(a, b, first, second)
    drawn = pairs.draw(n_flips, seed)
    alone = _shares_above(drawn, pairs.observed)
    if x.dtype == bool and y.dtype == bool:
        for k, (i, j) in enumerate(zip(first, second, strict=True)):
            d = a[i] - b[j]
            further, as_far = flip_probabilities(d)
            # The two tails are mirror images.
            alone[k] = (further + as_far) / 2 if d.sum() > 0 else 1 - further / 2
    adjusted = np.maximum(alone, step_down(pairs.observed, drawn))
    return adjusted.reshape(len(x), len(y))


def step_down(found: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Adjust by step-down max-T: compare each statistic with the largest of those that are not larger.

    Parameters
    ----------
    found : ndarray of shape (k,)
        Observed statistics.
    drawn : ndarray of shape (b, k)
        Statistics under the null hypothesis, drawn jointly.

    Returns
    -------
    ndarray of shape (k,)
        Adjusted p-values, (hits + 1) / (b + 1), not decreasing from the largest statistic down.
    """
    order = np.argsort(-found, kind="stable")
    largest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
    adjusted = np.empty(len(found))
    adjusted[order] = np.maximum.accumulate(_shares_above(largest, found[order]))
    return adjusted


def _shares_above(drawn: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the share of draws that reach the observed statistic, which itself counts as one."""
    # Sums that differ by rounding errors only count as equal.
    hits = (drawn >= found - 1e-9 * np.maximum(1, np.abs(found))).sum(axis=0)
    return (hits + 1) / (len(drawn) + 1)


class _Pairs:
    """Statistics of pairs of rows of two matrices of sums by unit, observed and under random signs."""

    def __init__(self, a: np.ndarray, b: np.ndarray, first: np.ndarray, second: np.ndarray):
        self.rows = a if a is b else np.concatenate([a, b])
        self.first, self.second = first, second if a is b else second + len(a)
        # sqrt(sum d^2), by pair; where two never differ, their statistic is 0.
        norms = [math.sqrt(float(((self.rows[i] - self.rows[j]) ** 2).sum())) for i, j in self._places()]
        self.norms = np.asarray(norms)
        self.observed = self._statistics(self.rows.sum(axis=1)[None])[0]

    def _places(self):
        return zip(self.first, self.second, strict=True)

    def _statistics(self, sums: np.ndarray) -> np.ndarray:
        d = sums[:, self.first] - sums[:, self.second]
        return np.where(self.norms > 0, d / np.where(self.norms > 0, self.norms, 1), 0.0)

    def draw(self, n_flips: int, seed: int) -> np.ndarray:
        """Return the statistics (n_flips, n_pairs) under random signs, the same for all pairs."""
        rng = np.random.default_rng(seed)
        # Units in which all methods have the same sum add nothing to any difference.
        rows = self.rows[:, (self.rows != self.rows[:1]).any(axis=0)]
        step = max(1, _TOGETHER // max(1, rows.shape[1]))
        parts = [np.empty((0, len(self.first)))]
        for done in range(0, n_flips, step):
            b = min(step, n_flips - done)
            signs = 1.0 - 2.0 * rng.integers(0, 2, (b, rows.shape[1]))
            parts.append(self._statistics(signs @ rows.T))
        return np.concatenate(parts)


def _describe_answers(
    x: np.ndarray, sums: np.ndarray, sizes: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], critical: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the bounds of each pair of rows, and the difference that it would show with a power of 80 %."""
    n_pairs, n = len(pairs[0]), x.shape[1]
    if len(sizes) == 1 and n > 1:
        return np.full(n_pairs, -1.0), np.full(n_pairs, 1.0), np.full(n_pairs, math.nan)
    only_a, only_b, worth = np.empty((3, n_pairs))
    for k, (i, j) in enumerate(zip(*pairs, strict=True)):
        d = x[i].astype(np.int8) - x[j]
        only_a[k], only_b[k] = (d > 0).mean(), (d < 0).mean()
        worth[k] = pair_size(d, sums[i] - sums[j], sizes)
    low, high = tango_bounds(only_a, only_b, worth, critical)
    return low, high, detectable_difference(only_a + only_b, worth, critical)


def _describe_numbers(
    x: np.ndarray, sums: np.ndarray, sizes: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], critical: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do the same for scores that are numbers; all are NaN where they never differ."""
    from scipy.stats import norm

    u, n = len(sizes), x.shape[1]
    d = sums[pairs[0]] - sums[pairs[1]]
    mean = d.sum(axis=1) / n
    spread = np.sqrt((d**2).sum(axis=1)) / n
    spread[spread == 0] = math.nan
    # T^2 = u t^2 / (u - 1 + t^2) relates it to Student's statistic t.
    t = critical * math.sqrt((u - 1) / (u - critical**2)) if u > max(1, critical**2) else math.inf
    error = np.sqrt(u / max(1, u - 1) * ((d - mean[:, None] * sizes) ** 2).sum(axis=1)) / n
    half = np.where(spread > 0, t * np.where(error > 0, error, spread), math.nan)
    return mean - half, mean + half, (critical + float(norm.ppf(POWER))) * spread


def detectable_difference(disagreement, n, critical: float, power: float = POWER) -> np.ndarray:
    """Return the smallest true difference in accuracy that a paired test shows with a given power.

    With a share s of images on which the methods disagree, a difference D shows with the power P where

        sqrt(n) D = critical sqrt(s) + z(P) sqrt(s - D^2).

    s is at least D. The result is the root D, at most 1.

    Parameters
    ----------
    disagreement, n : array-like
        s, as observed, and the effective number of images.
    critical : float
        Bound of the test statistic.
    power : float, default=0.80

    References
    ----------
    R. J. Connor, "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43 (1987), eq. 4.
    """
    from scipy.stats import norm

    z = float(norm.ppf(power))
    s0, n = np.broadcast_arrays(np.asarray(disagreement, np.float64), np.asarray(n, np.float64))
    low, high = np.zeros(s0.shape), np.ones(s0.shape)
    for _ in range(40):
        d = (low + high) / 2
        s = np.maximum(s0, d)
        enough = np.sqrt(n) * d >= critical * np.sqrt(s) + z * np.sqrt(np.maximum(0, s - d * d))
        low, high = np.where(enough, low, d), np.where(enough, d, high)
    return high


def _check_scores(name: str, scores, units, n_flips: int) -> tuple[np.ndarray, np.ndarray | None]:
    x = np.asarray(scores)
    if x.dtype != bool:
        x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.isfinite(x).all():
        raise InputError(
            f"{name} must be finite numbers or booleans of shape (n_methods, n_images), got shape {x.shape}"
        )
    if n_flips < 1:
        raise InputError(f"n_flips must be at least 1, got {n_flips}")
    return x, number_units(units, x.shape[1])
