"""Estimate by how much the score of the best method is too good, because it was chosen by that score.

The best of nine equally good methods owes its lead to chance: on other images it would be as good as the
others (the winner's curse). The more methods, the larger the lead; so the best of nine probes has an
advantage over the best of three fine-tuned modes that says nothing about either.
"""

from __future__ import annotations

import numpy as np

from featx.errors import InputError
from featx.metrics.units import count_images, draw_counts, number_units, sum_by_unit

_TOGETHER = 2_000_000  # counts held at a time


def selection_optimism(scores, *, units=None, n_boot: int = 2_000, seed: int = 0) -> float:
    """Return the expected excess of the best method's score over its true score.

    Each bootstrap resample of units gives deviations of all scores from those on all images. Added to the
    supposed true scores, they decide the winner of the resample; the result is the mean deviation of the
    winner. The scores on all images would be wrong as true ones: they spread by chance, too, so that one of
    them would lead, and of equally good methods the result would be too small by a factor of about 0.7. So
    they are shrunk to their mean by

        1 - noise / (variance of the scores),  at least 0,

    noise being the variance between methods that chance alone would make (B. Efron and C. Morris, "Stein's
    estimation rule and its competitors", Journal of the American Statistical Association 68 (1973)). Of nine
    equal methods of accuracy 0.9 on 100 and 250 images, the best exceeded the mean by 2.77 and 1.86 points in
    simulations, and the estimate was 2.78 and 1.83; of three, by 1.71 and 1.07, and it was 1.54 and 1.02.

    Parameters
    ----------
    scores : array-like of shape (m, n), bool or float
        Score of each method on each image, higher being better.
    units : array-like of shape (n,), int, optional
        Unit of each image; default: each is its own.
    n_boot : int, default=2000
        Resamples.
    seed : int, default=0
        Seed of the resamples.

    Returns
    -------
    float
        In the unit of the scores, 0 or more; 0 for a single method.

    Raises
    ------
    InputError
        `scores` are not finite numbers of shape (m, n), m and n at least 1, `units` is not an integer for
        each image, or `n_boot` is not positive.

    References
    ----------
    R. J. Tibshirani and R. Tibshirani, "A bias correction for the minimum error rate in cross-validation",
    Annals of Applied Statistics 3 (2009), describe the bias.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.isfinite(x).all():
        raise InputError(f"scores must be finite numbers of shape (n_methods, n_images), got {x.shape}")
    if n_boot < 1:
        raise InputError(f"n_boot must be at least 1 resample, got {n_boot}")
    m, n = x.shape
    codes = number_units(units, n)
    sizes, sums = count_images(codes, n), sum_by_unit(x, codes)
    u = len(sizes)
    if m == 1 or u == 1:
        return 0.0
    means = x.mean(axis=1)
    rng = np.random.default_rng(seed)
    step = max(1, _TOGETHER // u)
    parts = []
    for done in range(0, n_boot, step):
        counts = draw_counts(rng, min(step, n_boot - done), u)
        parts.append(counts @ sums.T / (counts @ sizes)[:, None] - means)
    deviations = np.concatenate(parts)
    # Variance between methods in a resample, less what the methods have in common.
    noise = float((deviations - deviations.mean(axis=1, keepdims=True)).var(axis=0).sum()) / (m - 1)
    spread = float(means.var(ddof=1))
    kept = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
    supposed = kept * (means - means.mean())
    best = (supposed + deviations).argmax(axis=1)
    return max(0.0, float(deviations[np.arange(len(best)), best].mean()))
