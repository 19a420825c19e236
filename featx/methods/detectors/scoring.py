"""How well scores tell anomalies from normal images, with intervals.

Scores are higher for what is more normal; anomalies are the positives, and an image is called anomalous when
its score is at or below a threshold.

- AUROC: the probability that an anomaly scores below a normal image, ties counting half.
- FPR95: the share of normal images that are called anomalous at the highest threshold needed to call at least
  95 % of the anomalies so (false-positive rate at 95 % recall of the anomalies).

Intervals are 95 % percentile bootstrap intervals over test images, resampled within each stratum (normal and
anomalous images or, in a protocol where each class is normal once, classes), so that every resample has both.
The same resamples serve all protocols of one call, and the interval of their mean is over these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from featx.errors import InputError
from featx.metrics import Interval

RECALL = 0.95
_CHUNK = 2_000_000  # counts held at a time


@dataclass(frozen=True)
class AnomalyScores:
    """AUROC and false-positive rate at 95 % recall, of each problem and on average.

    Attributes
    ----------
    auroc, fpr95 : list of Interval
        One a problem.
    mean_auroc, mean_fpr95 : Interval
        Over the problems.
    """

    auroc: list[Interval]
    fpr95: list[Interval]
    mean_auroc: Interval
    mean_fpr95: Interval


def score_anomalies(scores, anomalous, *, strata=None, n_boot: int = 1000, seed: int = 0) -> AnomalyScores:
    """AUROC and FPR95 of one problem or several on the same test images.

    Parameters
    ----------
    scores : array-like of shape (n,) or (n_problems, n)
        Higher = more normal.
    anomalous : array-like of the same shape, bool
        Which images are anomalies; each problem needs both kinds.
    strata : array-like of shape (n,), optional
        Within which images are resampled; default: the two kinds. With several problems it is needed, and
        no stratum may hold both kinds.
    n_boot : int, default=1000
        Resamples; 0 leaves the intervals undefined (NaN).
    seed : int, default=0
        Seed of the resamples.

    Returns
    -------
    AnomalyScores

    Raises
    ------
    InputError
        Shapes disagree, scores are not finite, or a problem lacks one kind.
    """
    s, a = np.atleast_2d(np.asarray(scores, np.float64)), np.atleast_2d(np.asarray(anomalous))
    if s.ndim != 2 or s.shape != a.shape or a.dtype != bool or not np.isfinite(s).all():
        raise InputError(
            "scores must be finite numbers and anomalous booleans of one shape, "
            f"got {s.shape} and {a.dtype} of {a.shape}"
        )
    if n_boot < 0:
        raise InputError(f"n_boot must be 0 or more resamples, got {n_boot}")
    for kinds in a:
        if kinds.all() or not kinds.any():
            raise InputError(f"all {len(kinds)} images are of one kind; normal and anomalous ones are needed")
    if strata is None:
        if len(s) > 1:
            raise InputError("several problems need strata, within which none mixes its two kinds")
        strata = a[0]
    codes = np.unique(np.asarray(strata), return_inverse=True)[1]
    if codes.shape != s.shape[1:]:
        raise InputError(f"expected one stratum for each of {s.shape[1]} images, got {codes.shape}")

    problems = [_Sorted(row, kinds) for row, kinds in zip(s, a, strict=True)]
    once = np.ones((1, s.shape[1]))
    values = np.stack([p.measure(once)[:, 0] for p in problems], axis=1)  # (2, n_problems)
    if not n_boot:
        nan = [[Interval(float(v)) for v in row] for row in values]
        return AnomalyScores(nan[0], nan[1], *(Interval(float(row.mean())) for row in values))
    draws = np.concatenate(
        [
            np.stack([p.measure(counts) for p in problems], axis=1)
            for counts in _resamples(codes, n_boot, seed)
        ],
        axis=2,
    )  # (2, n_problems, n_boot)
    each = [[_interval(v, d) for v, d in zip(*pair, strict=True)] for pair in zip(values, draws, strict=True)]
    mean = [_interval(v.mean(), d.mean(axis=0)) for v, d in zip(values, draws, strict=True)]
    return AnomalyScores(each[0], each[1], mean[0], mean[1])


class _Sorted:
    """One problem with its images in the order of their scores, those that tie in one group."""

    def __init__(self, scores: np.ndarray, anomalous: np.ndarray):
        self.order = np.argsort(scores, kind="stable")
        ranked = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        self.anomalous = anomalous[self.order]

    def measure(self, counts: np.ndarray) -> np.ndarray:
        """AUROC and FPR95 (2, b) of resamples, given how often each image is in them (b, n)."""
        counts = counts[:, self.order]
        bad = np.add.reduceat(counts * self.anomalous, self.starts, axis=1)
        good = np.add.reduceat(counts * ~self.anomalous, self.starts, axis=1)
        bad_so_far, good_so_far = bad.cumsum(axis=1), good.cumsum(axis=1)
        n_bad, n_good = bad_so_far[:, -1:], good_so_far[:, -1:]
        above = n_good - good_so_far + good / 2
        auroc = (bad * above).sum(axis=1) / (n_bad * n_good)[:, 0]
        # What rounding adds to 95 % of a count must not ask for one anomaly more.
        cut = (bad_so_far >= RECALL * n_bad - 1e-9).argmax(axis=1)
        fpr = np.take_along_axis(good_so_far, cut[:, None], axis=1)[:, 0] / n_good[:, 0]
        return np.stack([auroc, fpr])


def _resamples(codes: np.ndarray, n_boot: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    members: Sequence[np.ndarray] = [np.flatnonzero(codes == c) for c in range(codes.max() + 1)]
    step = max(1, _CHUNK // len(codes))
    for done in range(0, n_boot, step):
        b = min(step, n_boot - done)
        counts = np.empty((b, len(codes)))
        for rows in members:
            drawn = rng.integers(0, len(rows), (b, len(rows))) + len(rows) * np.arange(b)[:, None]
            counts[:, rows] = np.bincount(drawn.ravel(), minlength=b * len(rows)).reshape(b, -1)
        yield counts


def _interval(value: float, draws: np.ndarray) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)))
