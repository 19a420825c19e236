"""Compute the interval of a difference in accuracy between two methods on the same test images.

It is Tango's score interval: all differences that a score test does not reject. Where the methods never
disagree, the variance of the difference is estimated as 0, and an interval that relied on it would have zero
width; the test takes the variance under each hypothetical difference instead.
"""

from __future__ import annotations

import numpy as np

from featx.errors import InputError
from featx.metrics.intervals import Interval, check_level
from featx.metrics.units import count_images, least_size, number_units, sum_by_unit

_HALVINGS = 32


def paired_difference(correct_a, correct_b, *, units=None, level: float = 0.95) -> Interval:
    """Return the difference in top-1 accuracy, a less b, with Tango's score interval.

    With units, the number of images becomes the effective one (`pair_size`), and the normal quantile
    Student's.

    Parameters
    ----------
    correct_a, correct_b : array-like of shape (n,), bool
        Whether each method gets each image right, in the same order.
    units : array-like of shape (n,), int, optional
        Unit of each image; default: each is its own.
    level : float, default=0.95
        Coverage.

    Returns
    -------
    Interval
        Never of zero width; swapping a and b changes its sign only. With a single unit of several images it
        is [-1, 1].

    Raises
    ------
    InputError
        The arrays differ in length, are empty, or are not boolean, `units` is not an integer for each image,
        or `level` is out of range.

    References
    ----------
    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998), eq. 19.

    Examples
    --------
    >>> print(paired_difference([True] * 9 + [False], [True] * 10))
    -0.100 [-0.404, 0.186]
    """
    a, b = check_correct(correct_a, correct_b)
    check_level(level)
    d = a.astype(np.int64) - b
    codes = number_units(units, len(d))
    sizes, sums = count_images(codes, len(d)), sum_by_unit(d, codes)
    if codes is not None and len(sizes) == 1:
        return Interval(float(d.mean()), -1.0, 1.0)
    low, high = tango_bounds(
        (d > 0).mean(), (d < 0).mean(), pair_size(d, sums, sizes), pair_quantile(sizes, len(d), level)
    )
    return Interval(float(d.mean()), float(low), float(high))


def pair_quantile(sizes: np.ndarray, n: int, level: float) -> float:
    """Return the two-sided quantile of a paired difference: normal or, with units, Student's.

    Its degrees of freedom are those of `featx.metrics.proportions.effective_size`. `sizes` (n_units,) are the
    numbers of images of units, n in all.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    tail = (1 + level) / 2
    return float(norm.ppf(tail) if len(sizes) == n else student.ppf(tail, max(1, least_size(sizes) - 1)))


def pair_size(d: np.ndarray, sums: np.ndarray, sizes: np.ndarray) -> float:
    """Return the effective number of images of a paired difference, n over the design effect.

    The design effect is the variance of the sum of differences over u units, u / (u - 1) sum (d_u - mean
    n_u)^2, over that of independent images, n / (n - 1) sum (d_i - mean)^2. As in
    `featx.metrics.proportions.effective_size`, the variance that it would have if the images of each unit
    were all alike counts as one more unit beside those in which the methods disagree. The result is at most
    n, and at least what it would be if they were all alike; it is that where the methods never disagree.

    Parameters
    ----------
    d : ndarray of shape (n,)
        Difference on each image: 1, 0 or -1.
    sums, sizes : ndarray of shape (n_units,)
        Sum of the differences of each unit, and its number of images.
    """
    n, u = len(d), len(sizes)
    if u == n:
        return float(n)
    mean, least = float(d.mean()), least_size(sizes)
    alone = n / (n - 1) * float(((d - mean) ** 2).sum())
    if not alone > 0:
        return least
    together = u / (u - 1) * float(((sums - mean * sizes) ** 2).sum())
    telling = int((sums != 0).sum())
    together = (telling * together + alone * n / least) / (telling + 1)
    return min(float(n), max(least, n * alone / together))


def tango_bounds(only_a, only_b, n, quantile) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of Tango's interval of differences; arguments are broadcast together.

    With shares b and c of images that only one method gets right, the score statistic of a difference D is

        T(D) = sqrt(n) (b - c - D) / sqrt(2 q + D (1 - D)),

    where q is the most likely share c under D, the positive root of

        2 q^2 + (D (2 - b + c) - b - c) q - c D (1 - D) = 0.

    The bounds are the D with T(D) = quantile and T(D) = -quantile, found by halving.

    Parameters
    ----------
    only_a, only_b : array-like
        Shares b and c.
    n : array-like
        Effective number of images.
    quantile : array-like
        Bound of the statistic.
    """
    b, c, n, quantile = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (only_a, only_b, n, quantile))
    )
    found = []
    for sign, end in ((1, -1.0), (-1, 1.0)):
        inside, outside = b - c, np.full(b.shape, end)  # not rejected, and perhaps rejected
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            spread = np.sqrt(np.maximum(2 * _share_under(b, c, middle) + middle * (1 - middle), 0))
            kept = sign * np.sqrt(n) * (b - c - middle) <= quantile * spread
            inside, outside = np.where(kept, middle, inside), np.where(kept, outside, middle)
        found.append((inside + outside) / 2)
    return found[0], found[1]


def _share_under(b: np.ndarray, c: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Return q of `tango_bounds`: the most likely share of images that only b gets right."""
    linear = (2 - b + c) * difference - b - c
    constant = -c * difference * (1 - difference)
    return (np.sqrt(np.maximum(linear**2 - 8 * constant, 0)) - linear) / 4


def check_correct(correct_a, correct_b) -> tuple[np.ndarray, np.ndarray]:
    """Return the results of two methods as booleans of shape (n,), n at least 1."""
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(
            "two methods are compared on the same images, at least one: "
            f"got results of shape {a.shape} and {b.shape}"
        )
    if a.dtype != bool or b.dtype != bool:
        raise InputError(f"results must be boolean (right or wrong), got {a.dtype} and {b.dtype}")
    return a, b
