"""Score predicted classes: each metric, and its interval over test images.

=======================  ===============================================================================
top-1 accuracy           exact, or Korn and Graubard's with units (`featx.metrics.proportions`)
log loss                 of a mean of skewed values (`featx.metrics.means`), with room for unseen mistakes
calibration error        by a test of possible values (`featx.metrics.calibration`)
all others               as a share of the effective number of images, from a bootstrap variance
=======================  ===============================================================================

Units (images, groups of images) are resampled without regard to class, because the number of images of each
class in a test set is random too (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993). A resample
without any image of a class is scored on the other classes, as scikit-learn does.

With K classes of n_c test images a score of classes cannot be more certain than the mean of K shares, whose
effective number of images is K^2 / sum(1/n_c) if they are equal. This number bounds the one that is
estimated, and takes its place where all answers are right and nothing can be estimated.

Every metric is a function of sums over images, so a resample is a row of counts W (b, n), and the sums of all
resamples are one product W @ M with a sparse M. (`scipy.stats.bootstrap` would score each resample anew.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.metrics.answers import Answers
from featx.metrics.calibration import calibration_interval
from featx.metrics.intervals import Interval, check_resamples, extend_interval, interval_around
from featx.metrics.means import mean_interval
from featx.metrics.metric import Metric
from featx.metrics.proportions import Sizes, count_telling, proportion_interval, score_interval, share_size
from featx.metrics.units import count_units, draw_counts, number_units

CALIBRATION_BINS = 15
_CHUNK = 2_000_000  # counts held at a time


@dataclass(frozen=True)
class ClassSums:
    """Sums over the n images of each of b resamples; an image drawn twice counts twice.

    Attributes
    ----------
    n : ndarray of shape (b,)
        Images, which may vary where units of several images are drawn.
    actual, called, hit : ndarray of shape (b, n_classes)
        Images of each class, images predicted as it, and images that are both.
    gaps : ndarray of shape (b, `CALIBRATION_BINS`)
        Sum of (right - confidence) of the images in each bin of confidence.
    """

    n: np.ndarray
    actual: np.ndarray
    called: np.ndarray
    hit: np.ndarray
    gaps: np.ndarray

    @property
    def n_occurring(self) -> np.ndarray:
        """Number of classes with an image or a prediction, ndarray of shape (b,)."""
        return ((self.actual > 0) | (self.called > 0)).sum(axis=1)

    @property
    def recall(self) -> np.ndarray:
        """Recall of each class, ndarray of shape (b, n_classes); 0 where it has no image."""
        return self.hit / np.maximum(self.actual, 1)


def is_right(y: np.ndarray, given: Answers) -> np.ndarray:
    """Return 1 for each image with the right label, else 0."""
    return (y == given.labels).astype(np.float64)


def log_loss(y: np.ndarray, given: Answers) -> np.ndarray:
    """Return -log(probability of the true class), in nats; probabilities are clipped at 2.2e-16."""
    return -np.log(np.clip(given.true, np.finfo(np.float64).eps, 1.0))


def balanced_accuracy(sums: ClassSums) -> np.ndarray:
    """Return the mean recall of the classes that have an image."""
    return sums.recall.sum(axis=1) / (sums.actual > 0).sum(axis=1)


def macro_precision(sums: ClassSums) -> np.ndarray:
    """Return the mean precision of the classes that have an image or a prediction, 0 where undefined."""
    return (sums.hit / np.maximum(sums.called, 1)).sum(axis=1) / sums.n_occurring


def macro_recall(sums: ClassSums) -> np.ndarray:
    """Return the mean recall of the classes that have an image or a prediction."""
    return sums.recall.sum(axis=1) / sums.n_occurring


def macro_f1(sums: ClassSums) -> np.ndarray:
    """Return the mean F1 of the classes that have an image or a prediction."""
    f1 = 2 * sums.hit / np.maximum(sums.actual + sums.called, 1)
    return f1.sum(axis=1) / sums.n_occurring


def calibration_error(sums: ClassSums) -> np.ndarray:
    """Return the expected calibration error over 15 bins of equal width (Guo et al. 2017, eq. 3)."""
    return np.abs(sums.gaps).sum(axis=1) / sums.n


METRICS = (
    Metric("top1", "top-1 accuracy", per_image=is_right),
    Metric("balanced_accuracy", "balanced accuracy", compute=balanced_accuracy),
    Metric("macro_precision", "macro precision", compute=macro_precision),
    Metric("macro_recall", "macro recall", compute=macro_recall),
    Metric("macro_f1", "macro F1", compute=macro_f1),
    Metric("log_loss", "log loss", higher_is_better=False, high=math.inf, per_image=log_loss),
    Metric("calibration_error", "calibration error", higher_is_better=False, compute=calibration_error),
)


def score_answers(
    y_true: np.ndarray, given: Answers, *, units=None, n_boot: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Score answers by every metric of classes, with 95 % intervals.

    Parameters
    ----------
    y_true : ndarray of shape (n,), int
        True classes.
    given : Answers
    units : array-like of shape (n,), int, optional
        Unit of each image: images of one unit are not independent. Default: each image is its own.
    n_boot : int, default=1000
        Resamples; 0 leaves all intervals undefined (NaN).
    seed : int, default=0
        Seed of the resamples. Methods with equally many test images get the same draws.

    Returns
    -------
    dict of str to Interval
        By name, in the order of `METRICS`. No interval has zero width. With a single unit of several images
        most are NaN, and that of top-1 is [0, 1].

    Raises
    ------
    InputError
        `n_boot` is negative, or `units` is not an integer for each image.
    """
    check_resamples(n_boot)
    y = np.asarray(y_true).astype(np.int64)
    n, k = len(y), given.n_classes
    codes = number_units(units, n)
    summands = per_image_summands(y, given)
    whole = split_sums(summands.sum(axis=0).reshape(1, -1), np.array([n]), k)
    values = {name: float(value[0]) for name, value in compute_metrics(*whole).items()}
    if not n_boot:
        return {name: Interval(value) for name, value in values.items()}
    by_unit = summands if codes is None else _indicator(codes) @ summands
    n_units = by_unit.shape[0]
    drawn = [split_sums(sums, size, k) for sums, size in _resample(by_unit, codes, n, n_boot, seed)]
    draws = [compute_metrics(*part) for part in drawn] if n_units > 1 else []
    sizes = _design_sizes(by_unit[:, len(_per_image()) :][:, :k], y)
    telling = count_telling(y == given.labels, codes)
    scores = {}
    for metric in METRICS:
        value = values[metric.name]
        found = np.concatenate([np.empty(0), *(part[metric.name] for part in draws)])
        if metric.per_image is is_right:
            scores[metric.name] = proportion_interval(y == given.labels, units=codes)
        elif metric.per_image is log_loss:
            scores[metric.name] = _loss_interval(y, given, codes)
        elif metric.per_image:
            within = (metric.low, metric.high)
            scores[metric.name] = mean_interval(metric.per_image(y, given), units=codes, within=within)
        elif metric.compute is calibration_error:
            scores[metric.name] = _calibration_interval(y, given, codes, n_boot, seed)
        elif math.isfinite(metric.low) and math.isfinite(metric.high):
            scores[metric.name] = score_interval(value, found, sizes, telling, (metric.low, metric.high))
        else:
            scores[metric.name] = interval_around(value, found)
    # Sums in another order differ in the last digit: a value must not depend on how its interval was found.
    return {name: extend_interval(values[name], interval) for name, interval in scores.items()}


def _bins(given: Answers) -> np.ndarray:
    """Return the bin of each confidence, ndarray of shape (n,)."""
    # Bins are open on the left, as in the paper; a confidence of 0 belongs to the first. Rounding errors must
    # not move a confidence on an edge (0.6, say) to the next bin.
    above = np.ceil(given.sure * CALIBRATION_BINS - 1e-9).astype(np.int64)
    return np.clip(above - 1, 0, CALIBRATION_BINS - 1)


def _calibration_interval(
    y: np.ndarray, given: Answers, codes: np.ndarray | None, n_boot: int, seed: int
) -> Interval:
    right, bins = y == given.labels, _bins(given)
    counts, hits, sure = (
        np.bincount(bins, values, minlength=CALIBRATION_BINS)
        for values in (np.ones(len(y)), right, given.sure)
    )
    return calibration_interval(counts, hits, sure, share_size(right, codes), n_boot=n_boot, seed=seed)


def _loss_interval(y: np.ndarray, given: Answers, codes: np.ndarray | None) -> Interval:
    """Return the mean log loss with an interval that allows for mistakes that were not seen.

    The few mistakes of a good classifier make up most of its log loss, and a test set may lack them, or the
    dearest of them. With p the share of mistakes, p_high the upper bound of its interval, and L and s the
    mean and the standard deviation of what one costs, the upper bound is at least

        mean + (p_high - p) (L + s).

    L is the mean loss of the mistakes seen or, if more, of those expected by the probabilities c of the
    predicted classes, sum (1 - c) (-log(1 - c)) / sum (1 - c); s is taken to be L where fewer than two were
    seen. No theory gives the s: without it 89 % of intervals held the truth where about three of 50 images
    were mistaken with high confidence, with it 93 %.
    """
    losses, right = log_loss(y, given), y == given.labels
    found = mean_interval(losses, units=codes, within=(0.0, math.inf))
    doubt = np.clip(1 - given.sure, np.finfo(np.float64).eps, 1)
    cost, seen = float((doubt * -np.log(doubt)).sum() / doubt.sum()), losses[~right]
    if len(seen):
        cost = max(cost, float(seen.mean()))
    spread = float(seen.std(ddof=1)) if len(seen) > 1 else cost
    shares = proportion_interval(right, units=codes)
    least_high = found.value + (shares.value - shares.low) * (cost + spread)
    low = found.low if math.isfinite(found.low) else 0.0
    return Interval(
        found.value, low, max(least_high, found.high) if math.isfinite(found.high) else least_high
    )


def _resample(
    by_unit: Any, codes: np.ndarray | None, n: int, n_boot: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the sums (b, m) and numbers of images (b,) of resampled units, in parts."""
    n_units = by_unit.shape[0]
    sizes = np.ones(n) if codes is None else np.bincount(codes).astype(np.float64)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // n_units)
    for done in range(0, n_boot, step):
        counts = draw_counts(rng, min(step, n_boot - done), n_units)
        yield (by_unit.T @ counts.T).T, counts @ sizes


def _design_sizes(by_class: Any, y: np.ndarray) -> Sizes:
    """Return K^2 / sum(1/n_c) if all images are independent, and if those of a unit are all alike.

    `by_class` has the number of images of each unit and class, (n_units, k), sparse.
    """
    n_of = np.bincount(y, minlength=by_class.shape[1]).astype(np.float64)
    present = n_of > 0
    squares = np.asarray(by_class.multiply(by_class).sum(axis=0)).ravel()[present]
    n_of = n_of[present]
    k2 = float(present.sum()) ** 2
    return Sizes(k2 / float((1 / n_of).sum()), k2 / float((squares / n_of**2).sum()))


def _indicator(codes: np.ndarray) -> Any:
    """Return the sparse matrix (n_units, n) that sums rows by unit."""
    from scipy.sparse import csr_matrix

    n = len(codes)
    return csr_matrix((np.ones(n), (codes, np.arange(n))), shape=(count_units(codes, n), n))


def _per_image() -> list[Metric]:
    return [metric for metric in METRICS if metric.per_image]


def per_image_summands(y: np.ndarray, given: Answers) -> Any:
    """Return, as a sparse matrix, what each image adds to the per-image metrics and to `ClassSums`."""
    from scipy.sparse import csr_matrix

    n, k = len(y), given.n_classes
    each = [metric.per_image(y, given) for metric in _per_image() if metric.per_image]
    right = is_right(y, given)
    bins = _bins(given)
    first = len(each)
    columns = [np.full(n, i) for i in range(first)]
    columns += [first + y, first + k + given.labels, first + 2 * k + y, first + 3 * k + bins]
    values = [*each, np.ones(n), np.ones(n), right, right - given.sure]
    rows = np.repeat(np.arange(n), len(columns))
    return csr_matrix(
        (np.stack(values, 1).ravel(), (rows, np.stack(columns, 1).ravel())),
        shape=(n, first + 3 * k + CALIBRATION_BINS),
    )


def split_sums(sums: Any, n: np.ndarray, k: int) -> tuple[np.ndarray, ClassSums]:
    """Split sums of `per_image_summands` (b, m) into means of per-image metrics (b, i) and `ClassSums`."""
    sums = np.asarray(sums, dtype=np.float64)
    first = len(_per_image())
    return sums[:, :first] / n[:, None], ClassSums(n, *np.split(sums[:, first:], [k, 2 * k, 3 * k], axis=1))


def compute_metrics(means: np.ndarray, sums: ClassSums) -> dict[str, np.ndarray]:
    """Compute every metric (b,) from `split_sums`."""
    names = [metric.name for metric in _per_image()]
    return {
        metric.name: metric.compute(sums) if metric.compute else means[:, names.index(metric.name)]
        for metric in METRICS
    }
