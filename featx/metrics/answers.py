"""Reduce predicted probabilities to what scoring needs: those of the predicted and the true class."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from featx.errors import InputError

_TOGETHER = 4_000_000  # probabilities predicted at a time


class Answers(NamedTuple):
    """The predictions for the test images, reduced to what metrics need.

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


def take_answers(y_true, proba, predictions) -> Answers:
    """Check probabilities, and keep those of the predicted and the true class of each image.

    Parameters
    ----------
    y_true : array-like of shape (n,), int
        True classes, as columns of `proba`.
    proba : array-like of shape (n, n_classes)
        Probabilities; each row sums to 1.
    predictions : array-like of shape (n,), int
        Predicted classes.

    Raises
    ------
    InputError
        Shapes disagree, labels are out of range, or rows are no probabilities.
    """
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
    p = p / total[:, None]
    y, predicted, rows = y.astype(np.int64), predicted.astype(np.int64), np.arange(n)
    return Answers(predicted, p[rows, predicted], p[rows, y], k)


def predict_answers(
    y: np.ndarray, rows: np.ndarray, n_classes: int, predict: Callable[[np.ndarray], np.ndarray]
) -> Answers:
    """Predict the most probable classes of some rows, in parts where there are many classes.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        True classes of all rows.
    rows : ndarray of int
        Positions of the rows to predict.
    n_classes : int
    predict : callable
        Takes some of `rows`, returns their probabilities (len, n_classes).

    Raises
    ------
    InputError
        As in `take_answers`, or the classifier knows another number of classes.
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
        parts.append(take_answers(y[some], probabilities, probabilities.argmax(axis=1)))
    labels, sure, true, _ = zip(*parts, strict=True)
    return Answers(np.concatenate(labels), np.concatenate(sure), np.concatenate(true), n_classes)
