"""What a method's answers on the test images are worth, with intervals.

Intervals are 95 % percentile bootstrap intervals over test images (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, chapter 13). The images are resampled without regard to their class: a test set is a
sample of images, and how many of each class it happened to get is part of the chance. A resample without
any image of a class is scored on the other classes, as scikit-learn would score it.

Two corrections keep the intervals honest where the percentile bootstrap is known to fail. An accuracy of
exactly 0 or 1 gives resamples that are all alike; the exact (Clopper-Pearson) interval takes their place.
And where resampling is biased, as it is for the calibration error, the interval is extended to contain the
value itself.

Every metric is a function of sums over images, so a resample is a row of counts W (b, n) and all the sums of
all resamples are one product W @ M with a sparse M.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import binomtest

from featx.errors import InputError
from featx.metrics import Interval

#: The metrics, in the order in which `score` gives them.
METRICS = (
    "top1",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "log_loss",
    "calibration_error",
)

CALIBRATION_BINS = 15
_CHUNK = 2_000_000  # counts held at a time
_TOGETHER = 4_000_000  # probabilities predicted at a time


def score(y_true, proba, predictions, *, n_boot: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Seven metrics with 95 % intervals.

    Parameters
    ----------
    y_true : array-like of shape (n,), int
        True classes, as columns of `proba`.
    proba : array-like of shape (n, n_classes)
        Probabilities; each row sums to 1.
    predictions : array-like of shape (n,), int
        Predicted classes.
    n_boot : int, default=1000
        Resamples; 0 leaves the intervals undefined (NaN).
    seed : int, default=0
        Seed of the resamples: the same images are drawn for every method with as many test images.

    Returns
    -------
    dict of str to Interval
        ``top1``: share of images with the right label. ``balanced_accuracy``: mean recall of the classes
        that occur in `y_true`. ``macro_precision``, ``macro_recall``, ``macro_f1``: means over the
        classes that occur in `y_true` or `predictions`, 0 where undefined. ``log_loss``: mean of
        -log(probability of the true class), in nats, probabilities clipped at 2.2e-16.
        ``calibration_error``: expected calibration error over 15 bins of equal width on the probability
        of the predicted class (Guo et al. 2017, eq. 3).

    Raises
    ------
    InputError
        Shapes disagree, labels are out of range, or rows are no probabilities.
    """
    return score_answers(y_true, answers(y_true, proba, predictions), n_boot=n_boot, seed=seed)


class Answers(NamedTuple):
    """What scoring looks at of a method's answers: of thousands of classes a small part.

    Attributes
    ----------
    labels : ndarray of shape (n,), int64
        Predicted classes.
    sure, true : ndarray of shape (n,), float64
        Probability of the predicted class, and of the true one.
    n_classes : int
    """

    labels: np.ndarray
    sure: np.ndarray
    true: np.ndarray
    n_classes: int


def answers(y_true, proba, predictions) -> Answers:
    """Take of all probabilities those that scoring looks at.

    Parameters
    ----------
    y_true, proba, predictions
        As of `score`.

    Returns
    -------
    Answers

    Raises
    ------
    InputError
        As `score`.
    """
    y, p, predicted = _checked(y_true, proba, predictions)
    rows = np.arange(len(y))
    return Answers(predicted, p[rows, predicted], p[rows, y], p.shape[1])


def answers_in_parts(
    y: np.ndarray, rows: np.ndarray, n_classes: int, predict: Callable[[np.ndarray], np.ndarray]
) -> Answers:
    """`answers` for some rows, of which a part is predicted at a time where there are many classes.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        True classes of all rows.
    rows : ndarray of int
        Those to predict.
    n_classes : int
    predict : callable
        Takes some of `rows`, gives their probabilities, (len, n_classes).

    Returns
    -------
    Answers
        With the most probable class as the predicted one.

    Raises
    ------
    InputError
        As `score`; the probabilities are not of so many classes.
    """
    step = max(1, _TOGETHER // n_classes)
    parts = []
    for at in range(0, len(rows), step):
        some = rows[at : at + step]
        probabilities = predict(some)
        if probabilities.shape[1] != n_classes:
            raise InputError(
                f"the classifier knows {probabilities.shape[1]} of {n_classes} classes; each needs a "
                "training image"
            )
        parts.append(answers(y[some], probabilities, probabilities.argmax(axis=1)))
    return Answers(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.sure for part in parts]),
        np.concatenate([part.true for part in parts]),
        n_classes,
    )


def score_answers(
    y_true: np.ndarray, given: Answers, *, n_boot: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """As `score`, from `answers`.

    Parameters
    ----------
    y_true : ndarray of shape (n,), int
        True classes.
    given : Answers
    n_boot, seed
        As of `score`.

    Returns
    -------
    dict of str to Interval
    """
    if n_boot < 0:
        raise InputError(f"n_boot must be 0 or more resamples, got {n_boot}")
    y, predicted = np.asarray(y_true).astype(np.int64), given.labels
    n, k = len(y), given.n_classes
    sums = _summands(y, given)
    value = _metrics(sums.sum(axis=0).reshape(1, -1), n, k)
    low, high = {}, {}
    if n_boot:
        rng = np.random.default_rng(seed)
        step = max(1, _CHUNK // n)
        parts = []
        for done in range(0, n_boot, step):
            b = min(step, n_boot - done)
            drawn = rng.integers(0, n, (b, n)) + n * np.arange(b)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=b * n).reshape(b, n)
            parts.append(_metrics((sums.T @ counts.T.astype(np.float64)).T, n, k))
        for name in METRICS:
            draws = np.concatenate([part[name] for part in parts])
            low[name], high[name] = np.percentile(draws, [2.5, 97.5])
        right = int((y == predicted).sum())
        if right in (0, n):
            exact = binomtest(right, n).proportion_ci(0.95, method="exact")
            low["top1"], high["top1"] = exact.low, exact.high
    result = {}
    for name in METRICS:
        v = float(value[name][0])
        if n_boot:
            result[name] = Interval(v, min(float(low[name]), v), max(float(high[name]), v))
        else:
            result[name] = Interval(v, float("nan"), float("nan"))
    return result


def _summands(y: np.ndarray, given: Answers) -> csr_matrix:
    """What each image adds: (right, loss, true class, predicted class, right in class, bin gap)."""
    n, k = len(y), given.n_classes
    rows, predicted, confidence = np.arange(n), given.labels, given.sure
    right = (y == predicted).astype(np.float64)
    loss = -np.log(np.clip(given.true, np.finfo(np.float64).eps, 1.0))
    # Bins are open on the left, as in the paper; a confidence of 0 belongs to the first. What rounding
    # adds to a confidence on an edge (0.6, say) must not move it.
    above = np.ceil(confidence * CALIBRATION_BINS - 1e-9).astype(np.int64)
    bins = np.clip(above - 1, 0, CALIBRATION_BINS - 1)
    ones = np.ones(n)
    zeros = np.zeros(n, np.int64)
    columns = [zeros, zeros + 1, 2 + y, 2 + k + predicted, 2 + 2 * k + y, 2 + 3 * k + bins]
    values = [right, loss, ones, ones, right, right - confidence]
    return csr_matrix(
        (np.stack(values, 1).ravel(), (np.repeat(rows, len(columns)), np.stack(columns, 1).ravel())),
        shape=(n, 2 + 3 * k + CALIBRATION_BINS),
    )


def _metrics(sums: np.ndarray, n: int, k: int) -> dict[str, np.ndarray]:
    """Metrics (b,) of sums (b, m) over resamples of n images."""
    sums = np.asarray(sums)
    actual, called, hit = (sums[:, 2 + i * k : 2 + (i + 1) * k] for i in range(3))
    there = actual > 0
    either = there | (called > 0)
    n_either = either.sum(axis=1)
    recall = hit / np.maximum(actual, 1)
    precision = hit / np.maximum(called, 1)
    f1 = 2 * hit / np.maximum(actual + called, 1)
    return {
        "top1": sums[:, 0] / n,
        "balanced_accuracy": recall.sum(axis=1) / there.sum(axis=1),
        "macro_precision": precision.sum(axis=1) / n_either,
        "macro_recall": recall.sum(axis=1) / n_either,
        "macro_f1": f1.sum(axis=1) / n_either,
        "log_loss": sums[:, 1] / n,
        "calibration_error": np.abs(sums[:, 2 + 3 * k :]).sum(axis=1) / n,
    }


def _checked(y_true, proba, predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, p, predicted = np.asarray(y_true), np.asarray(proba, dtype=np.float64), np.asarray(predictions)
    if p.ndim != 2 or 0 in p.shape:
        raise InputError(f"proba must have shape (n_images, n_classes) and be filled, got {p.shape}")
    n, k = p.shape
    for name, labels in (("y_true", y), ("predictions", predicted)):
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            raise InputError(
                f"{name} must be {n} integers, one for each row of proba, "
                f"got {labels.dtype} of shape {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= k:
            raise InputError(
                f"{name} must lie in 0..{k - 1}, the columns of proba, got {labels.min()}..{labels.max()}"
            )
    total = p.sum(axis=1)
    if not (np.isfinite(p).all() and p.min() >= 0 and np.allclose(total, 1, atol=1e-3)):
        worst = int(np.argmax(np.where(np.isfinite(total), np.abs(total - 1), np.inf)))
        raise InputError(
            "proba must hold probabilities, each row 0 or more and summing to 1; "
            f"row {worst} sums to {total[worst]:.4g}"
        )
    return y.astype(np.int64), p / total[:, None], predicted.astype(np.int64)
