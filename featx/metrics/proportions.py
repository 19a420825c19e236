"""Compute the interval of a proportion, and of a score that behaves like one.

A share p of right answers among n independent images has the exact (Clopper-Pearson) interval. It never has
zero width, it holds the truth in 95 % of samples or more whatever p and n are, and it is as wide at 50 of 50
right as it should be: [0.929, 1].

Other bounded scores (balanced accuracy, F1, AUROC) and shares of grouped images are given the *effective
number of images* n_eff: that of the independent images on which a plain share would have the same variance,

    n_eff = v (1 - v) / Var(v),

and then the same interval with n_eff in place of n (E. L. Korn and B. I. Graubard, "Confidence intervals for
proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24
(1998)). As the variance is an estimate, n_eff is multiplied by (t(n - 1) / t(u - 1))^2, the ratio of
Student's 97.5 % points for n images and u units.
"""

from __future__ import annotations

import numpy as np

from featx.errors import InputError
from featx.metrics.intervals import Interval, check_level
from featx.metrics.units import count_images, least_size, number_units, sum_by_unit


def proportion_interval(right, *, units=None, level: float = 0.95) -> Interval:
    """Return the share of right answers with its exact interval or, with units, Korn and Graubard's.

    Without units this is Clopper and Pearson's interval. With units the number of images becomes the
    effective one, n_eff = n / deff, where deff is the variance of the share over that of independent images.
    With u units of n_i images and y_i right answers the variance is that of a ratio,

        Var(p) = u / (u - 1) sum_i (y_i - p n_i)^2 / n^2.

    n_eff is n at most, and at least what it would be if the images of a unit were all alike
    (`featx.metrics.units.least_size`); it is taken to be that where all answers are right, or all wrong, and
    nothing can be estimated.

    Parameters
    ----------
    right : array-like of shape (n,), bool
        Whether each image is answered right.
    units : array-like of shape (n,), int, optional
        Unit of each image: images of one unit are not independent. Default: each image is its own.
    level : float, default=0.95
        Coverage.

    Returns
    -------
    Interval
        Never of zero width. With a single unit of several images it is [0, 1].

    Raises
    ------
    InputError
        `right` is not boolean or is empty, `units` is not an integer for each image, or `level` is out of
        range.

    References
    ----------
    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26 (1934); Korn and Graubard (1998), as in `featx.metrics.proportions`.

    Examples
    --------
    >>> print(proportion_interval([True] * 49 + [False]))
    0.980 [0.894, 0.999]
    """
    x = np.asarray(right)
    if x.ndim != 1 or not len(x) or x.dtype != bool:
        raise InputError(f"right must be booleans of shape (n,), n at least 1, got {x.dtype} of {x.shape}")
    check_level(level)
    n, value = len(x), float(x.mean())
    codes = number_units(units, n)
    if codes is None:
        return beta_interval(value, n, level)
    sizes = count_images(codes, n)
    n_units, least = len(sizes), least_size(sizes)
    if n_units == 1:
        return Interval(value, 0.0, 1.0)
    if value in (0.0, 1.0):
        return beta_interval(value, least, level)
    residuals = sum_by_unit(x, codes) - value * sizes
    variance = n_units / (n_units - 1) * float((residuals**2).sum()) / n**2
    return beta_interval(value, effective_size(value, variance, n, n_units, least, level), level)


def effective_size(
    value: float, variance: float, n: float, n_units: int, least: float = 0.0, level: float = 0.95
) -> float:
    """Return the effective number of images of a score between 0 and 1, at most n and at least `least`.

    Parameters
    ----------
    value, variance : float
        The score, and the estimated variance of it.
    n : float
        Effective number of images if they were independent.
    n_units : int
        Units that the variance was estimated from, 2 or more.
    least : float, default=0.0
        Effective number of images if those of each unit were all alike.
    level : float, default=0.95
        Coverage of the interval to come.
    """
    from scipy.stats import t as student

    if not variance > 0:
        return n
    size = value * (1 - value) / variance
    if n_units < n:
        tail = (1 + level) / 2
        size *= float(student.ppf(tail, n - 1) / student.ppf(tail, n_units - 1)) ** 2
    return min(n, max(least, size))


def beta_interval(value: float, n: float, level: float = 0.95) -> Interval:
    """Return Clopper and Pearson's interval of a share of n images; n need not be a whole number.

    The bounds are the (1 - level)/2 point of the beta distribution with x and n - x + 1 degrees and the
    (1 + level)/2 point of that with x + 1 and n - x, where x = n * value.
    """
    from scipy.stats import beta

    tail = (1 - level) / 2
    x, rest = n * value, n * (1 - value)
    low = float(beta.ppf(tail, x, rest + 1)) if x > 0 else 0.0
    high = float(beta.ppf(1 - tail, x + 1, rest)) if rest > 0 else 1.0
    return Interval(value, min(low, value), max(high, value))


def score_interval(
    value: float,
    draws: np.ndarray,
    sizes: tuple[float, float],
    n_units: int,
    within: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
) -> Interval:
    """Return the interval of a bounded score, as that of a share of the effective number of images.

    Parameters
    ----------
    value : float
        The score.
    draws : ndarray of shape (b,)
        The score of resamples; those that are not finite are left out.
    sizes : (float, float)
        Largest effective number of images: if they are independent, and if those of a unit are all alike. The
        second is taken where the score is perfect or as bad as can be.
    n_units : int
        Units that were resampled.
    within : (float, float), default=(0, 1)
        Bounds of the score, which is scaled to 0..1.
    level : float, default=0.95
        Coverage.

    Returns
    -------
    Interval
        NaN bounds where the value or all draws are undefined.
    """
    draws = draws[np.isfinite(draws)]
    if not (np.isfinite(value) and len(draws) > 1):
        return Interval(value)
    low, width = within[0], within[1] - within[0]
    share = min(1.0, max(0.0, (value - low) / width))
    if min(share, 1 - share) < 1e-12:  # a score of 1 less a rounding error
        n = sizes[1]
    else:
        n = effective_size(share, float(draws.var(ddof=1)) / width**2, sizes[0], n_units, level=level)
    found = beta_interval(share, n, level)
    return Interval(value, min(value, low + width * found.low), max(value, low + width * found.high))
