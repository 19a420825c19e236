"""Score how well detectors tell anomalies from normal images, with intervals.

A higher score is more normal. Anomalies are the positives: an image is called anomalous when its score is at
or below a threshold.

The interval of AUROC is that of a share of the effective number of images (`featx.metrics.proportions`),
whose variance comes from bootstrap resamples. Images are resampled within strata, so that every resample has
normal and anomalous ones: within these two kinds or, in a protocol that takes each class as the normal one in
turn, within classes. With units (groups of images), units are resampled: within strata where no unit has
images of two, else all together, and resamples without normal or anomalous images are left out. All problems
of one call share their resamples; the interval of their mean comes from the mean of each resample. Where all
images are in order, the effective number of images is that of the kind that has fewer.

False alarms at 95 % found depend on two estimates, and resamples of few anomalies do not show how far the
threshold may be off. So their interval is put together from the exact interval of the threshold, which are
two of the anomalies' scores, and that of the share of normal images at a given threshold. With fewer than 72
anomalies no score is certain to be above the threshold, and the upper bound is 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from featx.errors import InputError
from featx.metrics.intervals import Interval, check_resamples
from featx.metrics.metric import Metric
from featx.metrics.proportions import Sizes, beta_interval, score_interval, share_size
from featx.metrics.units import draw_counts, least_size, number_units

RECALL = 0.95
_CHUNK = 2_000_000  # counts held at a time


@dataclass(frozen=True)
class RankedCounts:
    """Number of anomalous and normal images at each distinct score, for each of b resamples.

    Attributes
    ----------
    bad, good : ndarray of shape (b, n_scores)
        Anomalous and normal images with this score, from the lowest score up.
    bad_so_far, good_so_far : ndarray of shape (b, n_scores)
        Anomalous and normal images with this score or a lower one.
    """

    bad: np.ndarray
    good: np.ndarray
    bad_so_far: np.ndarray
    good_so_far: np.ndarray


def auroc(counts: RankedCounts) -> np.ndarray:
    """Return the probability that an anomaly scores below a normal image, ties counting half."""
    n_bad, n_good = counts.bad_so_far[:, -1], counts.good_so_far[:, -1:]
    above = n_good - counts.good_so_far + counts.good / 2
    return (counts.bad * above).sum(axis=1) / (n_bad * n_good[:, 0])


def fpr95(counts: RankedCounts) -> np.ndarray:
    """Return the share of normal images at or below the lowest threshold that finds 95 % of the anomalies."""
    # Less a little: a rounding error in 95 % of a count must not demand one anomaly more.
    at = (counts.bad_so_far >= RECALL * counts.bad_so_far[:, -1:] - 1e-9).argmax(axis=1)
    return np.take_along_axis(counts.good_so_far, at[:, None], axis=1)[:, 0] / counts.good_so_far[:, -1]


METRICS = (
    Metric("auroc", "AUROC", task="anomalies", compute=auroc),
    Metric("fpr95", "false alarms at 95 % found", False, task="anomalies", compute=fpr95),
)
_BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True)
class AnomalyScores:
    """Every metric of anomalies, by name.

    Attributes
    ----------
    each : dict of str to list of Interval
        One interval for each problem.
    mean : dict of str to Interval
        The mean over the problems.
    """

    each: dict[str, list[Interval]]
    mean: dict[str, Interval]


def score_anomalies(
    scores, anomalous, *, strata=None, units=None, n_boot: int = 1000, seed: int = 0
) -> AnomalyScores:
    """Score one problem, or several on the same test images, by every metric of anomalies.

    Parameters
    ----------
    scores : array-like of shape (n,) or (n_problems, n)
        Higher = more normal.
    anomalous : array-like of the same shape, bool
        Which images are anomalies; each problem needs normal and anomalous ones.
    strata : array-like of shape (n,), optional
        Stratum of each image; default: normal and anomalous ones. Required with several problems, where no
        stratum may mix normal and anomalous images of any problem.
    units : array-like of shape (n,), int, optional
        Unit of each image: images of one unit are not independent. Default: each image is its own.
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
    check_resamples(n_boot)
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

    problems = [_Ranking(row, kinds) for row, kinds in zip(s, a, strict=True)]
    values = _measure(problems, np.ones((1, s.shape[1])))  # each (n_problems, 1)
    if not n_boot:
        return AnomalyScores(
            {name: [Interval(float(v[0])) for v in value] for name, value in values.items()},
            {name: Interval(float(value.mean())) for name, value in values.items()},
        )
    unit_codes = number_units(units, s.shape[1])
    parts = [_measure(problems, counts) for counts in _resamples(codes, unit_codes, a, n_boot, seed)]
    # Of each problem: what its images are worth, and how many of them are out of order.
    worth = [_worth(row, kinds, unit_codes) for row, kinds in zip(s, a, strict=True)]
    together = Sizes(math.inf, len(a) ** 2 / sum(1 / sizes.alike for sizes, _ in worth))
    each, mean = {}, {}
    for name, value in values.items():
        draws = np.concatenate([np.empty((len(s), 0)), *(part[name] for part in parts)], axis=1)
        if _BY_NAME[name].compute is fpr95:
            each[name] = [_fpr95_interval(*one, unit_codes) for one in zip(s, a, strict=True)]
            mean[name] = _mean_interval(each[name], draws)
        else:
            each[name] = [
                score_interval(float(v[0]), d, *of) for v, d, of in zip(value, draws, worth, strict=True)
            ]
            telling = sum(number for _, number in worth)
            mean[name] = score_interval(float(value.mean()), draws.mean(axis=0), together, telling)
    return AnomalyScores(each, mean)


def _worth(scores: np.ndarray, anomalous: np.ndarray, units: np.ndarray | None) -> tuple[Sizes, int]:
    """Return the effective number of images of AUROC if all are in order, and how many units are not.

    Both are those of the kind, normal or anomalous, that has fewer.
    """
    unit_of = np.arange(len(scores)) if units is None else units
    sizes, telling = [], []
    for kind, misplaced in (
        (anomalous, scores >= scores[~anomalous].min()),
        (~anomalous, scores <= scores[anomalous].max()),
    ):
        sizes.append(least_size(np.unique(unit_of[kind], return_counts=True)[1]))
        telling.append(len(np.unique(unit_of[kind & misplaced])))
    return Sizes(math.inf, min(sizes)), min(telling)


def _fpr95_interval(
    scores: np.ndarray, anomalous: np.ndarray, units: np.ndarray | None, level: float = 0.95
) -> Interval:
    """Return the false alarms at the threshold that finds 95 %, with their interval.

    The threshold lies between the anomalies' scores of ranks l and u, the (1 - level)/2 and (1 + level)/2
    points of the number found, which is binomial with a share of 0.95 (G. J. Hahn and W. Q. Meeker,
    "Statistical Intervals", 1991, section 5.2). With v the false alarms, v_l and v_u those at the two scores,
    and low and high the interval of v at the given threshold, the bounds are

        v - sqrt((v - v_l)^2 + (v - low)^2)  and  v + sqrt((v_u - v)^2 + (high - v)^2)

    (A. Donner and G. Y. Zou, "Closed-form confidence intervals for functions of the normal mean and standard
    deviation", Statistical Methods in Medical Research 21 (2012)).
    """
    from scipy.stats import binom

    def of_kind(kind: np.ndarray) -> np.ndarray | None:
        return None if units is None else number_units(units[kind], int(kind.sum()))

    bad, good = np.sort(scores[anomalous]), scores[~anomalous]
    threshold = bad[math.ceil(RECALL * len(bad) - 1e-9) - 1]
    n = math.floor(share_size(scores[anomalous] <= threshold, of_kind(anomalous), level))
    tails = (1 - level) / 2, (1 + level) / 2
    ranks = binom.ppf(tails, n, RECALL) + np.array([0, 1])
    places = np.ceil(ranks / max(n, 1) * len(bad) - 1e-9).astype(np.int64)
    shares = [
        0.0 if place < 1 else 1.0 if place > len(bad) else float((good <= bad[place - 1]).mean())
        for place in places
    ]
    alarms = good <= threshold
    here = beta_interval(float(alarms.mean()), share_size(alarms, of_kind(~anomalous), level), level)
    value = here.value
    low = value - math.hypot(value - shares[0], value - here.low)
    high = value + math.hypot(shares[1] - value, here.high - value)
    return Interval(value, max(0.0, low), min(1.0, high))


def _mean_interval(each: Sequence[Interval], draws: np.ndarray) -> Interval:
    """Return the interval of the mean of values, narrower as resamples of the mean vary less than their own.

    `draws` are the values of resamples (n_intervals, b).
    """
    value, low, high = (float(np.mean([getattr(i, of) for i in each])) for of in ("value", "low", "high"))
    alone = float(draws.std(axis=1).mean()) if draws.size else 0.0
    factor = float(draws.mean(axis=0).std()) / alone if alone > 0 else 1.0
    return Interval(value, value - factor * (value - low), value + factor * (high - value))


def _measure(problems: Sequence[_Ranking], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every metric (n_problems, b) of resamples, given how often each image is in them (b, n)."""
    ranked = [problem.count(counts) for problem in problems]
    return {m.name: np.stack([m.compute(one) for one in ranked]) for m in METRICS if m.compute}


class _Ranking:
    """The images of one problem in the order of their scores, ties in one group."""

    def __init__(self, scores: np.ndarray, anomalous: np.ndarray):
        self.order = np.argsort(scores, kind="stable")
        ranked = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        self.anomalous = anomalous[self.order]

    def count(self, counts: np.ndarray) -> RankedCounts:
        """Count the images at each score, given how often each image is in a resample (b, n)."""
        counts = counts[:, self.order]
        bad = np.add.reduceat(counts * self.anomalous, self.starts, axis=1)
        good = np.add.reduceat(counts * ~self.anomalous, self.starts, axis=1)
        return RankedCounts(bad, good, bad.cumsum(axis=1), good.cumsum(axis=1))


def _resamples(
    strata: np.ndarray, units: np.ndarray | None, anomalous: np.ndarray, n_boot: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield how often each image is in a resample (b, n), in parts; every problem has both kinds in each."""
    rng = np.random.default_rng(seed)
    n = len(strata)
    unit_of = np.arange(n) if units is None else units
    n_units = unit_of.max() + 1
    stratum_of = np.zeros(n_units, np.int64)
    stratum_of[unit_of] = strata
    if (stratum_of[unit_of] != strata).any():  # some unit has images of two strata
        stratum_of[:] = 0
    members: Sequence[np.ndarray] = [np.flatnonzero(stratum_of == c) for c in range(stratum_of.max() + 1)]
    step = max(1, _CHUNK // n)
    for done in range(0, n_boot, step):
        b = min(step, n_boot - done)
        counts = np.empty((b, n_units))
        for rows in members:
            counts[:, rows] = draw_counts(rng, b, len(rows))
        weights = counts if units is None else counts[:, units]
        bad = weights @ anomalous.T
        both = ((bad > 0) & (bad < weights.sum(axis=1, keepdims=True))).all(axis=1)
        yield weights[both]
