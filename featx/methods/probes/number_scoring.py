"""What predicted numbers on the test images are worth, with intervals.

Intervals are 95 % percentile bootstrap intervals over test images (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, chapter 13), extended to contain the value itself, as those of `scoring`.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from featx.errors import InputError
from featx.metrics import Interval

#: The metrics of a regression, in the order in which `score_numbers` gives them.
NUMBER_METRICS = ("r2", "mae", "rmse", "spearman")

_CHUNK = 2_000_000  # values held at a time


def score_numbers(y_true, predicted, *, n_boot: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Four metrics with 95 % intervals.

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
        ``r2``: 1 - sum of squared errors / sum of squared distances to the mean of `y_true`, so that 0 is as
        good as knowing that mean, and below 0 is worse. ``mae``: mean absolute error. ``rmse``: root of the
        mean squared error. ``spearman``: Spearman's rank correlation, ties at their mean rank. ``r2`` and
        ``spearman`` are NaN where all numbers are alike; resamples in which they are do not count.

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
    value = _metrics(y[None], p[None])
    draws: list[dict[str, np.ndarray]] = []
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(y))
    for done in range(0, n_boot, step):
        rows = rng.integers(0, len(y), (min(step, n_boot - done), len(y)))
        draws.append(_metrics(y[rows], p[rows]))
    result = {}
    for name in NUMBER_METRICS:
        v = float(value[name][0])
        drawn = np.concatenate([part[name] for part in draws]) if draws else np.empty(0)
        drawn = drawn[np.isfinite(drawn)]
        if np.isfinite(v) and len(drawn):
            low, high = np.percentile(drawn, [2.5, 97.5])
            result[name] = Interval(v, min(float(low), v), max(float(high), v))
        else:
            result[name] = Interval(v)
    return result


def _metrics(y: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics (b,) of resamples (b, n)."""
    error = p - y
    square = (error**2).mean(axis=1)
    # Alike means alike: the variance of equal numbers need not come out as 0.
    varied = y.max(axis=1) > y.min(axis=1)
    variance = np.where(varied, y.var(axis=1), np.nan)
    return {
        "r2": 1 - square / variance,
        "mae": np.abs(error).mean(axis=1),
        "rmse": np.sqrt(square),
        "spearman": _correlation(rankdata(y, axis=1), rankdata(p, axis=1)),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    # Ranks are multiples of a half, so that equal ones leave exactly 0.
    return (a * b).sum(axis=1) / np.where(scale > 0, scale, np.nan)
