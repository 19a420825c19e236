"""Score predicted numbers: each metric, and its interval over test images.

=========  ==========================================================================================
MAE        of a mean of skewed values (`featx.metrics.means`)
RMSE       the root of that of the mean squared error
R²         Student's on log(1 - R²), with the jackknife's standard error
Spearman   Student's on Fisher's scale, with the bootstrap's standard error
=========  ==========================================================================================

With units (groups of images), it is units that are left out and resampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from featx.errors import InputError
from featx.metrics.intervals import Interval, check_resamples, clip_interval, interval_around
from featx.metrics.means import mean_interval
from featx.metrics.metric import Metric
from featx.metrics.proportions import beta_interval
from featx.metrics.units import count_images, draw_counts, least_size, number_units, sum_by_unit

_CHUNK = 2_000_000  # counts held at a time


def r2(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return 1 - mean squared error / variance; 0 is as good as the mean, NaN where all numbers are equal."""
    n = w.sum(axis=1)
    centred = y - y.mean()
    variance = w @ centred**2 / n - (w @ centred / n) ** 2
    # Not by the variance: rounding may leave that of equal numbers above 0.
    first = np.take(y, (w > 0).argmax(axis=1))
    varied = ((w > 0) & (y != first[:, None])).any(axis=1)
    return 1 - (w @ (p - y) ** 2 / n) / np.where(varied, variance, np.nan)


def mae(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the mean absolute error."""
    return w @ np.abs(p - y) / w.sum(axis=1)


def rmse(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the root of the mean squared error."""
    return np.sqrt(w @ (p - y) ** 2 / w.sum(axis=1))


def spearman(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where all numbers are equal."""
    a, b = _ranks(y, w), _ranks(p, w)
    middle = (w.sum(axis=1, keepdims=True) + 1) / 2
    a, b = a - middle, b - middle
    scale = np.sqrt((w * a**2).sum(axis=1) * (w * b**2).sum(axis=1))
    # Ranks are multiples of a half, so that equal ones leave exactly 0.
    return (w * a * b).sum(axis=1) / np.where(scale > 0, scale, np.nan)


def _ranks(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the mean rank of each value in resamples that have it w times (b, n)."""
    values, place = np.unique(x, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(values)))
    at = np.add.reduceat(w[:, order], starts, axis=1)
    return (at.cumsum(axis=1) - (at - 1) / 2)[:, place]


METRICS = (
    Metric("r2", "R²", low=-math.inf, task="numbers", compute=r2),
    Metric("mae", "mean absolute error", False, high=math.inf, task="numbers", compute=mae),
    Metric("rmse", "root mean squared error", False, high=math.inf, task="numbers", compute=rmse),
    Metric("spearman", "Spearman's rank correlation", low=-1.0, task="numbers", compute=spearman),
)


def score_numbers(y_true, predicted, *, units=None, n_boot: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Score predicted numbers by every metric of numbers, with 95 % intervals.

    Parameters
    ----------
    y_true, predicted : array-like of shape (n,)
        Finite numbers.
    units : array-like of shape (n,), int, optional
        Unit of each image: images of one unit are not independent. Default: each image is its own.
    n_boot : int, default=1000
        Resamples; 0 leaves all intervals undefined (NaN).
    seed : int, default=0
        Seed of the resamples. Methods with equally many test images get the same draws.

    Returns
    -------
    dict of str to Interval
        By name, in the order of `METRICS`; NaN where a metric is undefined. An interval is NaN where nothing
        tells how much the metric may vary: there is a single unit, or all errors are equal (as when all are
        0).

    Raises
    ------
    InputError
        Shapes disagree, a number is not finite, or `units` is not an integer for each image.
    """
    y, p = np.asarray(y_true, np.float64), np.asarray(predicted, np.float64)
    if y.ndim != 1 or y.shape != p.shape or not len(y):
        raise InputError(f"expected as many predictions as numbers, got shapes {y.shape} and {p.shape}")
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        raise InputError("expected finite numbers and predictions")
    check_resamples(n_boot)
    n = len(y)
    codes = number_units(units, n)
    sizes = count_images(codes, n)
    measured = [metric for metric in METRICS if metric.compute]
    ones = np.ones((1, n))
    values = {metric.name: float(metric.compute(y, p, ones)[0]) for metric in measured if metric.compute}
    if not n_boot:
        return {name: Interval(value) for name, value in values.items()}
    resampled = [metric for metric in measured if metric.name not in _FROM_VALUES]
    draws: dict[str, list[np.ndarray]] = {metric.name: [np.empty(0)] for metric in resampled}
    rng = np.random.default_rng(seed)
    u = len(sizes)
    step = max(1, _CHUNK // n)
    for done in range(0, n_boot if u > 1 else 0, step):
        counts = draw_counts(rng, min(step, n_boot - done), u)
        weights = counts if codes is None else counts[:, codes]
        for metric in resampled:
            if metric.compute:
                draws[metric.name].append(metric.compute(y, p, weights))
    scores = {}
    for metric in measured:
        value, within = values[metric.name], (metric.low, metric.high)
        if metric.name in _FROM_VALUES:
            found = _FROM_VALUES[metric.name](y, p, codes)
            scores[metric.name] = clip_interval(Interval(value, *found), within)
        elif metric.compute is spearman:
            drawn = np.concatenate(draws[metric.name])
            scores[metric.name] = _correlation_interval(value, drawn, sizes)
        else:
            scores[metric.name] = interval_around(value, np.concatenate(draws[metric.name]))
    return scores


def _mae_bounds(y: np.ndarray, p: np.ndarray, codes: np.ndarray | None) -> tuple[float, float]:
    found = mean_interval(np.abs(p - y), units=codes)
    return found.low, found.high


def _rmse_bounds(y: np.ndarray, p: np.ndarray, codes: np.ndarray | None) -> tuple[float, float]:
    found = mean_interval((p - y) ** 2, units=codes, within=(0.0, math.inf))
    return math.sqrt(found.low), math.sqrt(found.high)


def _r2_bounds(y: np.ndarray, p: np.ndarray, codes: np.ndarray | None) -> tuple[float, float]:
    """Return the bounds of R² from those of log(1 - R²), whose variance is the jackknife's over u units.

    With l_u the logarithm without unit u, it is (u - 1)/u sum (l_u - mean l)^2 (J. W. Tukey, "Bias and
    confidence in not-quite large samples", Annals of Mathematical Statistics 29 (1958)); the quantile is
    Student's.
    """
    from scipy.stats import t as student

    errors, centred = (p - y) ** 2, y - y.mean()
    sums = sum_by_unit(np.stack([errors, centred, centred**2, np.ones(len(y))]), codes)
    u = sums.shape[1]
    if u < 3 or not (y.max() > y.min() and errors.mean() > 1e-24 * (centred**2).mean()):
        return math.nan, math.nan
    error, first, second, n = sums.sum(axis=1, keepdims=True) - sums
    spread = second - first**2 / n
    if not (spread > 1e-12 * second.max()).all() or not (error > 0).all():
        return math.nan, math.nan
    logs = np.log(error / spread)
    half = float(student.ppf(0.975, u - 1)) * math.sqrt(
        (u - 1) / u * float(((logs - logs.mean()) ** 2).sum())
    )
    ratio = float(errors.sum() / (centred**2).sum())
    return 1 - ratio * math.exp(half), 1 - ratio * math.exp(-half)


def _correlation_interval(value: float, draws: np.ndarray, sizes: np.ndarray) -> Interval:
    """Return the interval of a rank correlation r, symmetric on Fisher's scale atanh(r).

    The standard error there is that of resamples over 1 - r^2; the quantile is Student's over units.
    A perfect order has the interval of a share of right answers, from -1 to 1, on units that are all alike.
    """
    from scipy.stats import t as student

    draws = draws[np.isfinite(draws)]
    if not (math.isfinite(value) and len(draws) > 1):
        return Interval(value)
    room = 1 - value**2
    if room < 1e-12:
        found = beta_interval((1 + value) / 2, least_size(sizes))
        return Interval(value, min(value, 2 * found.low - 1), max(value, 2 * found.high - 1))
    half = float(student.ppf(0.975, len(sizes) - 1)) * float(draws.std(ddof=1)) / room
    middle = math.atanh(value)
    return Interval(value, math.tanh(middle - half), math.tanh(middle + half))


#: Bounds of the metrics that need no resamples, from true numbers, predicted ones and the codes of units.
_FROM_VALUES: dict[str, Callable[..., tuple[float, float]]] = {
    "r2": _r2_bounds,
    "mae": _mae_bounds,
    "rmse": _rmse_bounds,
}
