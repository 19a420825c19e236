"""Compute the interval of the calibration error, whose estimate is too large.

The calibration error sums the absolute gaps g_m between accuracy and confidence in bins: sum |g_m|. Chance
adds to each |g_m|, so that a perfectly calibrated classifier has an error above 0, and resamples have more
still. The interval therefore holds the true values that a test does not reject. As possible truths the
observed gaps are taken times a factor c, 0 or more, and e_m is the error of the gaps in a resample:

    c is kept where  P(sum |c g_m + e_m| >= observed) and P(sum |c g_m + e_m| <= observed)  are 2.5 % or more;

c sum |g_m| for the smallest and the largest such c are the bounds (a bootstrap interval along one line of
possible truths: T. J. DiCiccio and J. P. Romano, "Nonparametric confidence limits by resampling methods and
least favorable families", International Statistical Review 58 (1990)).
"""

from __future__ import annotations

import numpy as np

from featx.metrics.intervals import Interval

_HALVINGS = 30
_MOST = 4.0  # times the observed gaps, and more where they are small against chance


def calibration_interval(gaps: np.ndarray, drawn: np.ndarray, level: float = 0.95) -> Interval:
    """Return the sum of absolute gaps with its interval.

    Parameters
    ----------
    gaps : ndarray of shape (n_bins,)
        Sum of (right - confidence) of the images in each bin, over the number of images.
    drawn : ndarray of shape (b, n_bins)
        The same of resamples.
    level : float, default=0.95
        Coverage.

    Returns
    -------
    Interval
        Extended to contain the estimate; NaN where resamples do not vary.
    """
    value = float(np.abs(gaps).sum())
    errors = drawn - gaps
    if not (len(errors) > 1 and np.abs(errors).max() > 1e-12):
        return Interval(value)
    tail = (1 - level) / 2

    def sums(c: float) -> np.ndarray:
        return np.abs(c * gaps + errors).sum(axis=1)

    low, rejected = 1.0, 0.0
    if (sums(0.0) >= value).mean() >= tail:
        low = 0.0
    else:
        for _ in range(_HALVINGS):
            middle = (low + rejected) / 2
            kept = (sums(middle) >= value).mean() >= tail
            low, rejected = (middle, rejected) if kept else (low, middle)
    most = _MOST
    while value > 0 and (sums(most) <= value).mean() >= tail:
        most *= 2
    high = 1.0
    for _ in range(_HALVINGS):
        middle = (high + most) / 2
        kept = (sums(middle) <= value).mean() >= tail
        high, most = (middle, most) if kept else (high, middle)
    return Interval(value, low * value, min(1.0, high * value))
