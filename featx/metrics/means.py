"""Compute the interval of a mean of skewed values, such as losses and absolute errors.

Student's interval lies too low where a few large values make up much of the mean. Hall's transformation
removes the skewness g of the t statistic: with t = sqrt(n) (mean - truth) / s, s with n in its denominator,

    h(t) = t + g t^2 / (3 sqrt n) + g^2 t^3 / (27 n) + g / (6 sqrt n)

is normal up to terms of order 1/n, and it is monotone, so that the bounds of h(t) give bounds of the mean
(P. Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical Society B 54
(1992), section 2.2). With g = 0 it is Student's interval.
"""

from __future__ import annotations

import math

import numpy as np

from featx.metrics.intervals import Interval, check_level, clip_interval, finite_values
from featx.metrics.units import count_images, number_units, sum_by_unit


def mean_interval(
    values,
    *,
    units=None,
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
    skewed: bool = True,
) -> Interval:
    """Return the mean over images with the interval of Hall's transformation, or with Student's.

    With units the mean is a ratio of sums over u units, and the interval comes from their residuals
    (sum of values - mean * number of images) with u - 1 degrees of freedom.

    Parameters
    ----------
    values : array-like of shape (n,)
        One number for each image.
    units : array-like of shape (n,), int, optional
        Unit of each image; default: each is its own.
    level : float, default=0.95
        Coverage.
    within : (float, float), optional
        Range of possible means; the interval is clipped to it.
    skewed : bool, default=True
        False for differences between two methods, which are about symmetric: Student's interval, because an
        estimated skewness would only add noise.

    Returns
    -------
    Interval
        The bounds are NaN where nothing tells how much the mean may vary: there is a single unit, or all
        values are equal.

    Raises
    ------
    InputError
        There are no values, some are not finite, `units` is not an integer for each, or `level` is out of
        range.

    Examples
    --------
    >>> print(mean_interval([0.1, 0.2, 0.1, 0.3, 0.1, 1.9]))
    0.450 [-0.032, 2.731]
    """
    x = finite_values(values)
    check_level(level)
    value = float(x.mean())
    codes = number_units(units, len(x))
    sizes = count_images(codes, len(x))
    residuals = (sum_by_unit(x, codes) - value * sizes) / sizes.mean()
    low, high = hall_bounds(residuals, level, skewed)
    scale = float(np.abs(x).max())
    if not high - low > 1e-12 * scale:  # a spread of rounding errors only is none
        return Interval(value)
    return clip_interval(Interval(value, value + low, value + high), within)


def hall_bounds(residuals: np.ndarray, level: float, skewed: bool = True) -> tuple[float, float]:
    """Return the bounds of (truth - mean), given the values less their mean; NaN for fewer than two.

    Parameters
    ----------
    residuals : ndarray of shape (u,)
        They sum to 0.
    level : float
        Coverage.
    skewed : bool, default=True
        False takes the skewness to be 0, which gives Student's interval.
    """
    from scipy.stats import t as student

    u = len(residuals)
    if u < 2:
        return math.nan, math.nan
    s = math.sqrt(float((residuals**2).mean()))
    if not s > 0:
        return 0.0, 0.0
    root = math.sqrt(u)
    # a = g / (3 sqrt u): h(t) = t + a t^2 + a^2 t^3 / 3 + a / 2, which is ((1 + a t)^3 - 1) / (3 a) + a / 2.
    a = float((residuals**3).mean()) / s**3 / (3 * root) if skewed else 0.0
    quantile = float(student.ppf((1 + level) / 2, u - 1)) * math.sqrt(u / (u - 1))

    def solve(h: float) -> float:
        return h if abs(a) < 1e-9 else (math.cbrt(1 + 3 * a * (h - a / 2)) - 1) / a

    return -solve(quantile) * s / root, -solve(-quantile) * s / root
