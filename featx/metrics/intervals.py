"""Compute intervals of a number: over test images, and over draws.

The percentile bootstrap takes whatever distribution the values have, but of few values it is too narrow: it
resamples with the variance of the n values about their mean, which is (n - 1)/n of what it should be, and
knows nothing of how uncertain that variance is itself. Coverage of the true mean by 95 % intervals, in 4,000
simulated samples (``python tests/benchmarks/bench_null.py``), of normal values and of beta(20, 1), which is
skewed as accuracies near 1 are:

======  ==================  ==================  ==================  ==================
values  normal, bootstrap   normal, Student     skewed, bootstrap   skewed, Student
======  ==================  ==================  ==================  ==================
5       83.8 %              94.9 %              78.7 %              88.8 %
10      89.9 %              94.7 %              85.9 %              90.0 %
20      92.2 %              94.8 %              89.8 %              91.7 %
50      93.7 %              94.7 %              92.3 %              93.0 %
100     94.2 %              94.8 %              93.5 %              93.7 %
======  ==================  ==================  ==================  ==================

Student's interval is the nearer one throughout, by much where there are few. Hence `interval_over_draws`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import bootstrap
from scipy.stats import t as student

from featx.errors import InputError
from featx.metrics.interval import Interval

#: Below so many draws Student's interval is taken, from so many on the bootstrap.
FEW_DRAWS = 100
_TOGETHER = 4_000_000  # values resampled at a time


def bootstrap_interval(
    values,
    statistic: Callable[..., np.ndarray] = np.mean,
    *,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a statistic of independent values with its percentile bootstrap interval.

    Parameters
    ----------
    values : array-like of shape (n,)
        Independent numbers, such as what each test image adds to a mean.
    statistic : callable, default=numpy.mean
        Takes an array and ``axis=-1``, as NumPy's reductions do.
    n_boot : int, default=2000
        Resamples.
    level : float, default=0.95
        Coverage.
    seed : int, default=0
        Seed of the resamples.

    Returns
    -------
    Interval
        Of a single value the bounds are NaN: nothing is known of how it varies. Of few values it is too
        narrow; see `interval_over_draws`.

    Raises
    ------
    InputError
        There are no values, some are not finite, or `n_boot` or `level` is out of range.

    References
    ----------
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13, eq. 13.5.
    """
    x = finite_values(values)
    check_bootstrap(n_boot, level)
    value = float(statistic(x, axis=-1))
    if len(x) == 1:
        return Interval(value, math.nan, math.nan)
    found = bootstrap(
        (x,),
        statistic,
        n_resamples=max(2, n_boot),  # SciPy estimates a standard error, too
        batch=max(1, _TOGETHER // len(x)),
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def t_interval(values, *, level: float = 0.95) -> Interval:
    """Return the mean of independent values with Student's interval.

    With mean m and standard deviation s (n - 1 in its denominator) of n values, the bounds are
    m -+ t(n - 1; (1 + level)/2) s / sqrt(n).

    Parameters
    ----------
    values : array-like of shape (n,)
        Independent numbers, such as the scores of several seeds.
    level : float, default=0.95
        Coverage: exact for normal values, close to it for others that are not very skewed.

    Returns
    -------
    Interval
        Of a single value the bounds are NaN.

    Raises
    ------
    InputError
        As `bootstrap_interval`.

    References
    ----------
    Student, "The probable error of a mean", Biometrika 6 (1908).

    Examples
    --------
    >>> print(t_interval([0.90, 0.92, 0.94]))
    0.920 [0.870, 0.970]
    """
    x = finite_values(values)
    check_level(level)
    return student_interval(x, 1 / len(x), level)


def interval_over_draws(
    values, *, level: float = 0.95, within: tuple[float, float] = (-math.inf, math.inf), seed: int = 0
) -> Interval:
    """Return the mean over independent draws with an interval that suits their number.

    Below `FEW_DRAWS` draws it is Student's interval, because the percentile bootstrap is too narrow there
    (see the docstring of this module). From there on the two hardly differ, and it is the percentile
    bootstrap, which assumes nothing of the values' distribution.

    Parameters
    ----------
    values : array-like of shape (n,)
        One number a draw, such as the accuracy with each of several drawn training sets.
    level : float, default=0.95
        Coverage.
    within : (float, float), optional
        Bounds of what the number can be, such as (0, 1) of an accuracy; the interval is cut there.
    seed : int, default=0
        Seed of the bootstrap.

    Returns
    -------
    Interval
        Of a single draw the bounds are NaN. Draws that share most of their training images, as repeated
        splits do, are not independent: for them there is `corrected_interval`.

    Raises
    ------
    InputError
        As `bootstrap_interval`.
    """
    x = finite_values(values)
    found = (
        t_interval(x, level=level)
        if len(x) < FEW_DRAWS
        else bootstrap_interval(x, n_boot=10_000, level=level, seed=seed)
    )
    return cut(found, within)


def cut(interval: Interval, within: tuple[float, float]) -> Interval:
    """Cut an interval at bounds; an undefined one stays so."""
    if not math.isfinite(interval.low):
        return interval
    return Interval(interval.value, max(within[0], interval.low), min(within[1], interval.high))


def finite_values(values) -> np.ndarray:
    """Return the values as float64 of shape (n,), n at least 1."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise InputError(f"values must be finite numbers of shape (n,), n at least 1, got shape {x.shape}")
    return x


def check_bootstrap(n_boot: int, level: float) -> None:
    """Refuse numbers of resamples and coverages that make no interval."""
    if n_boot < 1:
        raise InputError(f"n_boot must be at least 1 resample, got {n_boot}")
    check_level(level)


def check_level(level: float) -> None:
    """Refuse a coverage that does not lie between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, got {level}")


def student_interval(x: np.ndarray, share: float, level: float) -> Interval:
    """Return mean -+ t sqrt(share * s^2); of independent values the share is 1/n."""
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(mean, math.nan, math.nan)
    half = float(student.ppf((1 + level) / 2, len(x) - 1)) * math.sqrt(share * float(x.var(ddof=1)))
    return Interval(mean, mean - half, mean + half)
