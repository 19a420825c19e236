"""Compute the interval of the calibration error, whose estimate is too large.

The calibration error sums the absolute gaps between accuracy a_m and confidence f_m in bins with shares w_m
of the images: sum w_m |a_m - f_m|. Chance adds to each gap, so that a perfectly calibrated classifier has an
error above 0, and a bootstrap resample of it has more still: a percentile interval lies too high, and has
almost no width where all answers are right. The interval therefore holds the true values that a test does not
reject. The possible truths are the accuracies

    f_m + c (a_m - f_m)   with c from 0 to 1, for the lower bound, and above 1, for the upper one;
    f_m - c                 for the upper bound, too: more mistakes than were seen.

For each, answers are simulated with f_m as observed, and it is kept where an error as large as the observed
one (lower bound) or as small (upper bound), or as few mistakes in all (f_m - c), has a probability of 2.5 %
or more (a test inversion along lines of possible truths, as in T. J. DiCiccio and J. P. Romano,
"Nonparametric confidence limits by resampling methods and least favorable families", International
Statistical Review 58 (1990)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from featx.metrics.intervals import Interval

_HALVINGS = 12


def calibration_interval(
    counts: np.ndarray, right: np.ndarray, sure: np.ndarray, n: float, *, n_boot: int, seed: int = 0
) -> Interval:
    """Return the calibration error with its 95 % interval.

    Parameters
    ----------
    counts, right, sure : ndarray of shape (n_bins,)
        Number of images in each bin, of right answers, and sum of the confidence.
    n : float
        Effective number of images.
    n_boot : int
        Simulated test sets for each possible truth.
    seed : int, default=0
        Seed of the simulation; every possible truth gets the same.

    Returns
    -------
    Interval
        Extended to contain the estimate. [0, 1] where `n` is below 1.
    """
    filled = counts > 0
    counts, right, sure = counts[filled], right[filled], sure[filled]
    weights, accuracy, confidence = counts / counts.sum(), right / counts, sure / counts
    gaps = accuracy - confidence
    value = float(weights @ np.abs(gaps))
    if n < 1:
        return Interval(value, 0.0, 1.0)
    tail = 0.025
    n_simulated = max(1, round(n))
    # Bins are as full as in a new sample; one that stays empty adds nothing.
    sizes = np.random.default_rng(seed).multinomial(n_simulated, weights, size=n_boot)

    def simulate(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the calibration errors and the shares of right answers of samples with true accuracies."""
        hits = np.random.default_rng(seed + 1).binomial(sizes, np.clip(truth, 0, 1))
        errors = np.abs(hits - sizes * confidence).sum(axis=1) / n_simulated
        return errors, hits.sum(axis=1) / n_simulated

    def is_too_small(truth: np.ndarray) -> bool:
        return (simulate(truth)[0] >= value - 1e-12).mean() < tail

    def is_too_large(truth: np.ndarray) -> bool:
        return (simulate(truth)[0] <= value + 1e-12).mean() < tail

    def has_too_many_mistakes(truth: np.ndarray) -> bool:
        return (simulate(truth)[1] >= weights @ accuracy - 1e-12).mean() < tail

    def error_of(truth: np.ndarray) -> float:
        return float(weights @ np.abs(np.clip(truth, 0, 1) - confidence))

    def along(c: float) -> np.ndarray:
        return confidence + c * gaps

    def below(c: float) -> np.ndarray:
        return confidence - c

    low = 0.0
    if is_too_small(along(0.0)):
        low = error_of(along(_last(lambda c: is_too_small(along(c)), 1.0)))
    # No gap is wider than 1, so c need not exceed 1 / |widest gap|.
    widest = float(np.abs(gaps).max())
    most = 1 / widest if widest > 1e-9 else 1.0
    high = max(
        error_of(along(_last(lambda c: c <= 1 or not is_too_large(along(c)), max(1.0, most)))),
        error_of(below(_last(lambda c: not has_too_many_mistakes(below(c)), 1.0))),
    )
    return Interval(value, min(low, value), max(high, value))


def _last(holds: Callable[[float], bool], most: float) -> float:
    """Return the largest c between 0 and `most` up to which a condition holds, by halving."""
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2
