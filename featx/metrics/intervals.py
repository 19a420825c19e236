"""Hold a number with its interval; check and clip bounds, and compute Student's and percentile intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from featx.errors import InputError


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
