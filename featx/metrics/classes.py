"""Score predicted classes: each metric, and its interval over test images.

Intervals are 95 % percentile bootstrap intervals over test images (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, chapter 13). Images are resampled without regard to class, because the number of images
of each class in a test set is random too. A resample without any image of a class is scored on the other
classes, as scikit-learn does.

The percentile bootstrap is corrected where it is known to fail: resamples of an accuracy of exactly 0 or 1
are all equal, so its interval is the exact (Clopper-Pearson) one; and where resampling is biased, as for the
calibration error, the interval is extended to contain the value itself.

Every metric is a function of sums over images, so a resample is a row of counts W (b, n), and the sums of all
resamples are one product W @ M with a sparse M. (`scipy.stats.bootstrap` would score each resample anew.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.metrics.answers import Answers
from featx.metrics.intervals import Interval, check_resamples, intervals_around
from featx.metrics.metric import Metric

CALIBRATION_BINS = 15
_CHUNK = 2_000_000  # counts held at a time


@dataclass(frozen=True)
class ClassSums:
    """Sums over the n images of each of b resamples; an image drawn twice counts twice.

    Attributes
    ----------
    n : int
    actual, called, hit : ndarray of shape (b, n_classes)
        Images of each class, images predicted as it, and images that are both.
    gaps : ndarray of shape (b, `CALIBRATION_BINS`)
        Sum of (right - confidence) of the images in each bin of confidence.
    """

    n: int
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
    y_true: np.ndarray, given: Answers, *, n_boot: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Score answers by every metric of classes, with 95 % intervals.

    Parameters
    ----------
    y_true : ndarray of shape (n,), int
        True classes.
    given : Answers
    n_boot : int, default=1000
        Resamples; 0 leaves the intervals undefined (NaN).
    seed : int, default=0
        Seed of the resamples. Methods with equally many test images get the same draws.

    Returns
    -------
    dict of str to Interval
        By name, in the order of `METRICS`.

    Raises
    ------
    InputError
        `n_boot` is negative.
    """
    from scipy.stats import binomtest

    check_resamples(n_boot)
    y = np.asarray(y_true).astype(np.int64)
    n, k = len(y), given.n_classes
    summands = _summands(y, given)
    values = _measure(summands.sum(axis=0).reshape(1, -1), n, k)
    drawn: list[dict[str, np.ndarray]] = []
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    for done in range(0, n_boot, step):
        b = min(step, n_boot - done)
        rows = rng.integers(0, n, (b, n)) + n * np.arange(b)[:, None]
        counts = np.bincount(rows.ravel(), minlength=b * n).reshape(b, n)
        drawn.append(_measure((summands.T @ counts.T.astype(np.float64)).T, n, k))
    scores = intervals_around(values, drawn)
    right = int((y == given.labels).sum())
    if n_boot and right in (0, n):
        exact = binomtest(right, n).proportion_ci(0.95, method="exact")
        scores["top1"] = Interval(right / n, exact.low, exact.high)
    return scores


def _summands(y: np.ndarray, given: Answers) -> Any:
    """Return, as a sparse matrix, what each image adds to the per-image metrics and to `ClassSums`."""
    from scipy.sparse import csr_matrix

    n, k = len(y), given.n_classes
    each = [metric.per_image(y, given) for metric in METRICS if metric.per_image]
    right = is_right(y, given)
    # Bins are open on the left, as in the paper; a confidence of 0 belongs to the first. Rounding errors must
    # not move a confidence on an edge (0.6, say) to the next bin.
    above = np.ceil(given.sure * CALIBRATION_BINS - 1e-9).astype(np.int64)
    bins = np.clip(above - 1, 0, CALIBRATION_BINS - 1)
    first = len(each)
    columns = [np.full(n, i) for i in range(first)]
    columns += [first + y, first + k + given.labels, first + 2 * k + y, first + 3 * k + bins]
    values = [*each, np.ones(n), np.ones(n), right, right - given.sure]
    rows = np.repeat(np.arange(n), len(columns))
    return csr_matrix(
        (np.stack(values, 1).ravel(), (rows, np.stack(columns, 1).ravel())),
        shape=(n, first + 3 * k + CALIBRATION_BINS),
    )


def _measure(sums: Any, n: int, k: int) -> dict[str, np.ndarray]:
    """Compute every metric (b,) from sums of `_summands` (b, m) over resamples of n images."""
    sums = np.asarray(sums)
    means = [metric.name for metric in METRICS if metric.per_image]
    parts = np.split(sums[:, len(means) :], [k, 2 * k, 3 * k], axis=1)
    by_class = ClassSums(n, *parts)
    return {
        metric.name: metric.compute(by_class) if metric.compute else sums[:, means.index(metric.name)] / n
        for metric in METRICS
    }
