"""Score predicted numbers: each metric, and its interval over test images.

Intervals are 95 % percentile bootstrap intervals over test images (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, chapter 13), extended to contain the value itself, as those of `featx.metrics.classes`.
"""

from __future__ import annotations

import math

import numpy as np

from featx.errors import InputError
from featx.metrics.interval import Interval, interval_around
from featx.metrics.metric import Metric

_CHUNK = 2_000_000  # values held at a time


def r2(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """1 - mean squared error / variance: 0 is as good as knowing the mean, below 0 is worse.

    NaN where all numbers are alike.
    """
    # Alike means alike: the variance of equal numbers need not come out as 0.
    varied = y.max(axis=1) > y.min(axis=1)
    return 1 - ((p - y) ** 2).mean(axis=1) / np.where(varied, y.var(axis=1), np.nan)


def mae(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Mean absolute error."""
    return np.abs(p - y).mean(axis=1)


def rmse(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Root of the mean squared error."""
    return np.sqrt(((p - y) ** 2).mean(axis=1))


def spearman(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation, ties at their mean rank; NaN where all numbers are alike."""
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
        Seed of the resamples: the same images are drawn for every method with as many test images.

    Returns
    -------
    dict of str to Interval
        By name, in the order of `METRICS`. A metric that is undefined is NaN; resamples in which it is do
        not count.

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
    if n_boot < 0:
        raise InputError(f"n_boot must be 0 or more resamples, got {n_boot}")
    values = _measure(y[None], p[None])
    drawn: list[dict[str, np.ndarray]] = []
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(y))
    for done in range(0, n_boot, step):
        rows = rng.integers(0, len(y), (min(step, n_boot - done), len(y)))
        drawn.append(_measure(y[rows], p[rows]))
    scores = {}
    for name, value in values.items():
        draws = np.concatenate([part[name] for part in drawn]) if drawn else np.empty(0)
        scores[name] = interval_around(float(value[0]), draws)
    return scores


def _measure(y: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every metric (b,) of resamples (b, n)."""
    return {metric.name: metric.compute(y, p) for metric in METRICS if metric.compute}
