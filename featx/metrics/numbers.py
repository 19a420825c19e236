"""Score predicted numbers: each metric, and its interval over test images.

Intervals are 95 % percentile bootstrap intervals over test images, extended to contain the value itself, as
in `featx.metrics.classes`.
"""

from __future__ import annotations

import math

import numpy as np

from featx.errors import InputError
from featx.metrics.intervals import Interval, check_resamples, intervals_around
from featx.metrics.metric import Metric

_CHUNK = 2_000_000  # values held at a time


def r2(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return 1 - mean squared error / variance; 0 is as good as the mean, NaN where all numbers are equal."""
    # Not by the variance: rounding may leave that of equal numbers above 0.
    varied = y.max(axis=1) > y.min(axis=1)
    return 1 - ((p - y) ** 2).mean(axis=1) / np.where(varied, y.var(axis=1), np.nan)


def mae(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the mean absolute error."""
    return np.abs(p - y).mean(axis=1)


def rmse(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the root of the mean squared error."""
    return np.sqrt(((p - y) ** 2).mean(axis=1))


def spearman(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where all numbers are equal."""
    from scipy.stats import rankdata

    a, b = rankdata(y, axis=1), rankdata(p, axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    # Ranks are multiples of a half, so that equal ones leave exactly 0.
    return (a * b).sum(axis=1) / np.where(scale > 0, scale, np.nan)


METRICS = (
    Metric("r2", "R²", low=-math.inf, task="numbers", compute=r2),
    Metric("mae", "mean absolute error", False, high=math.inf, task="numbers", compute=mae),
    Metric("rmse", "root mean squared error", False, high=math.inf, task="numbers", compute=rmse),
    Metric("spearman", "Spearman's rank correlation", low=-1.0, task="numbers", compute=spearman),
)


def score_numbers(y_true, predicted, *, n_boot: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Score predicted numbers by every metric of numbers, with 95 % intervals.

    Parameters
    ----------
    y_true, predicted : array-like of shape (n,)
        Finite numbers.
    n_boot : int, default=1000
        Resamples; 0 leaves the intervals undefined (NaN).
    seed : int, default=0
        Seed of the resamples. Methods with equally many test images get the same draws.

    Returns
    -------
    dict of str to Interval
        By name, in the order of `METRICS`; NaN where a metric is undefined. Resamples in which it is
        undefined are left out.

    Raises
    ------
    InputError
        Shapes disagree, or a number is not finite.
    """
    y, p = np.asarray(y_true, np.float64), np.asarray(predicted, np.float64)
    if y.ndim != 1 or y.shape != p.shape or not len(y):
        raise InputError(f"expected as many predictions as numbers, got shapes {y.shape} and {p.shape}")
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        raise InputError("expected finite numbers and predictions")
    check_resamples(n_boot)
    values = _measure(y[None], p[None])
    drawn: list[dict[str, np.ndarray]] = []
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(y))
    for done in range(0, n_boot, step):
        rows = rng.integers(0, len(y), (min(step, n_boot - done), len(y)))
        drawn.append(_measure(y[rows], p[rows]))
    return intervals_around(values, drawn)


def _measure(y: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every metric (b,) of resamples (b, n)."""
    return {metric.name: metric.compute(y, p) for metric in METRICS if metric.compute}
