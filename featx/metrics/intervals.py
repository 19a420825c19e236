"""Hold a number with its interval, and compute intervals over test images and over draws.

The percentile bootstrap fits any distribution, but with few values its interval is too narrow: it resamples
with a variance that is (n - 1)/n of the unbiased one, and ignores that this variance is itself an estimate.
How often 95 % intervals contain the true mean, in 4,000 simulated samples of normal values and of
beta(20, 1), skewed as accuracies near 1 are (``python tests/benchmarks/bench_null.py``):

======  ==================  ==================  ==================  ==================
values  normal, bootstrap   normal, Student     skewed, bootstrap   skewed, Student
======  ==================  ==================  ==================  ==================
5       83.8 %              94.9 %              78.7 %              88.8 %
10      89.9 %              94.7 %              85.9 %              90.0 %
20      92.2 %              94.8 %              89.8 %              91.7 %
50      93.7 %              94.7 %              92.3 %              93.0 %
100     94.2 %              94.8 %              93.5 %              93.7 %
======  ==================  ==================  ==================  ==================

Student's interval is nearer to 95 % everywhere, most of all with few values. Hence `interval_over_draws`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from featx.errors import InputError

#: With fewer draws `interval_over_draws` takes Student's interval, with as many or more the bootstrap.
FEW_DRAWS = 100
_TOGETHER = 4_000_000  # values resampled at a time


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval; NaN where it is undefined.

    Attributes
    ----------
    value, low, high : float
        The estimate and the bounds of its interval.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "-"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval_around(value: float, draws: np.ndarray) -> Interval:
    """Return the 95 % percentile interval of resampled values, extended to contain the value itself.

    Resamples that are not finite are left out. Without any, or with a NaN value, the bounds are NaN.
    """
    draws = draws[np.isfinite(draws)]
    if not (math.isfinite(value) and len(draws)):
        return Interval(value)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(value, min(float(low), value), max(float(high), value))


def intervals_around(
    values: Mapping[str, np.ndarray], drawn: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Interval]:
    """Return `interval_around` of every metric, given its value (1,) and its resampled values in parts."""
    return {
        name: interval_around(float(value[0]), np.concatenate([np.empty(0), *(part[name] for part in drawn)]))
        for name, value in values.items()
    }


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
        Independent numbers, such as the error on each test image.
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
        With a single value the bounds are NaN. With few values the interval is too narrow; see
        `interval_over_draws`.

    Raises
    ------
    InputError
        There are no values, some are not finite, or `n_boot` or `level` is out of range.

    References
    ----------
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13, eq. 13.5.
    """
    from scipy.stats import bootstrap

    x = finite_values(values)
    check_bootstrap(n_boot, level)
    value = float(statistic(x, axis=-1))
    if len(x) == 1:
        return Interval(value)
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
        Coverage; exact for normal values, approximate for others.

    Returns
    -------
    Interval
        With a single value the bounds are NaN.

    Raises
    ------
    InputError
        As in `bootstrap_interval`.

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
    """Return the mean over independent draws, with Student's interval or, for many draws, the bootstrap's.

    With fewer than `FEW_DRAWS` draws the percentile bootstrap is too narrow (see `featx.metrics.intervals`).
    With more, the two hardly differ, and the bootstrap assumes nothing about the distribution.

    Parameters
    ----------
    values : array-like of shape (n,)
        One number for each draw, such as the accuracy after each of several drawn training sets.
    level : float, default=0.95
        Coverage.
    within : (float, float), optional
        Range of possible values, such as (0, 1) for an accuracy; the interval is clipped to it.
    seed : int, default=0
        Seed of the bootstrap.

    Returns
    -------
    Interval
        With a single draw the bounds are NaN. Repeated splits share most of their training images and are
        not independent: use `corrected_interval` for them.

    Raises
    ------
    InputError
        As in `bootstrap_interval`.
    """
    x = finite_values(values)
    found = (
        t_interval(x, level=level)
        if len(x) < FEW_DRAWS
        else bootstrap_interval(x, n_boot=10_000, level=level, seed=seed)
    )
    return clip_interval(found, within)


def extend_interval(value: float, interval: Interval) -> Interval:
    """Return the interval with another value, extended to contain it; NaN stays NaN."""
    if not math.isfinite(interval.low):
        return Interval(value)
    return Interval(value, min(interval.low, value), max(interval.high, value))


def clip_interval(interval: Interval, within: tuple[float, float]) -> Interval:
    """Clip the bounds of an interval to a range; NaN stays NaN."""
    if not math.isfinite(interval.low):
        return interval
    return Interval(interval.value, max(within[0], interval.low), min(within[1], interval.high))


def finite_values(values) -> np.ndarray:
    """Return the values as finite float64 of shape (n,), n at least 1."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise InputError(f"values must be finite numbers of shape (n,), n at least 1, got shape {x.shape}")
    return x


def check_bootstrap(n_boot: int, level: float) -> None:
    """Check the number of resamples and the coverage."""
    if n_boot < 1:
        raise InputError(f"n_boot must be at least 1 resample, got {n_boot}")
    check_level(level)


def check_resamples(n_boot: int) -> None:
    """Check a number of resamples that may be 0, for no interval."""
    if n_boot < 0:
        raise InputError(f"n_boot must be 0 or more resamples, got {n_boot}")


def check_level(level: float) -> None:
    """Check that the coverage lies between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, got {level}")


def student_interval(x: np.ndarray, share: float, level: float) -> Interval:
    """Return mean -+ t sqrt(share * s^2); the share is 1/n for independent values."""
    from scipy.stats import t as student

    mean = float(x.mean())
    if len(x) == 1:
        return Interval(mean)
    half = float(student.ppf((1 + level) / 2, len(x) - 1)) * math.sqrt(share * float(x.var(ddof=1)))
    return Interval(mean, mean - half, mean + half)
