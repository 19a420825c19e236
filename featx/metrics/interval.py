"""Hold a number with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval; NaN where it is undefined.

    Parameters
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
    """Return the 95 % percentile interval of resamples, extended to contain the value itself.

    Parameters
    ----------
    value : float
        NaN leaves the bounds undefined.
    draws : ndarray of shape (n_boot,)
        Values of the resamples; those that are not finite do not count, and none leaves the bounds undefined.
    """
    draws = draws[np.isfinite(draws)]
    if not (math.isfinite(value) and len(draws)):
        return Interval(value)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(value, min(float(low), value), max(float(high), value))
