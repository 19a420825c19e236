"""Divide the log scores of a classifier by a temperature, so that it is as sure as it is right.

With scores z_ic of row i for class c, the probabilities are softmax(z_i / T). T is one positive number, so
the order of the classes, and with it every label, stays. It minimises the log loss of scores of rows that
were held out (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 9), which is convex in
b = 1 / T::

    f(b) = 1/n sum_i [log sum_c exp(b z_ic) - b z_i(y_i)]

If every held-out row is right, f falls for ever and b would be infinite. Therefore one observation is added
whose class is anything, as in Platt's targets ("Probabilistic Outputs for Support Vector Machines", 1999,
section 2.2): the target of a row is n / (n + 1) for its class plus 1 / (n + 1), divided among all k classes.
With two classes and no error, the mean probability of the wrong class is then (0 + 1/2) / (n + 1), Jeffreys'
estimate of an error rate.

What a score is depends on the kind of classifier alone, never on the values or the number of rows: a
probability must not depend on the batch in which it was asked for (scikit-learn's ``method="temperature"``
decides in each call whether scores look like probabilities).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import InputError

#: Probabilities below this share of 1 / n_classes count as that before the logarithm: a few votes cannot tell
#: them from 0. The highest one is never below 1 / n_classes, so no label changes.
LEAST_SHARE = 0.01
# Smallest b, in units of one over the mean distance of scores from the highest one. At 0 labels are lost.
_LEAST = 1e-3


class TemperatureClassifier(ClassifierMixin, BaseEstimator):
    """Fit a classifier to all rows, and a temperature to its scores of held-out rows.

    Parameters
    ----------
    estimator : classifier
        It has `decision_function` or `predict_proba`.
    cv : int or list of (train, held) arrays, default=5
        Folds to hold rows out; fewer if a class has fewer rows. If a class has a single row, or the list is
        empty, the temperature is fitted to the training rows, and probabilities are too sure.

    Attributes
    ----------
    estimator_ : classifier
        Fitted to all rows.
    temperature_ : float
    scores_ : {"margins", "log probabilities", "probabilities"}
        How scores become log scores; see `score_kind`.
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TemperatureClassifier(GaussianNB()).fit(X, y)
    >>> bool(model.temperature_ > 1)
    True
    """

    def __init__(self, estimator, cv=5):
        self.estimator = estimator
        self.cv = cv

    def fit(self, X, y, *, fitted=None, held_out: tuple[np.ndarray, np.ndarray] | None = None):
        """Fit the classifier and the temperature.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
        fitted : classifier, optional
            `estimator`, fitted to these rows already.
        held_out : (rows, scores), optional
            Positions (m,) and log scores (m, n_classes) of rows that were held out already. Without it rows
            are held out by `cv`, or none if the classifier is `fitted`.

        Returns
        -------
        self
        """
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"a temperature needs 2 classes or more, got 1 class ({self.classes_[0]})")
        self.scores_ = score_kind(self.estimator)
        self.estimator_ = clone(self.estimator).fit(X, y) if fitted is None else fitted
        if held_out is None and fitted is None and (folds := self._folds(codes)):
            held_out = hold_out(self.estimator, X, codes, folds, self.scores_)
        if held_out is None:
            held_out = np.arange(len(y)), log_scores(self.estimator_, X, self.scores_)
        rows, scores = held_out
        self.temperature_ = 1 / fit_sharpness(scores, codes[rows])
        return self

    def fit_scores(self, fitted, codes: np.ndarray, scores: np.ndarray):
        """Fit the temperature alone, to log scores (m, n_classes) of held-out rows with classes `codes` (m,).

        `fitted` is `estimator`, fitted already.
        """
        self.classes_, self.n_features_in_ = fitted.classes_, fitted.n_features_in_
        self.scores_, self.estimator_ = score_kind(fitted), fitted
        self.temperature_ = 1 / fit_sharpness(scores, codes)
        return self

    def predict_proba(self, X) -> np.ndarray:
        """Predict probabilities, ndarray of shape (n, n_classes)."""
        return softmax(self._log_scores(X) / self.temperature_, axis=1)

    def predict(self, X) -> np.ndarray:
        """Predict the class with the highest score, ndarray of shape (n,)."""
        best = self._log_scores(X).argmax(axis=1)
        return self.classes_[best]

    def _log_scores(self, X) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return log_scores(self.estimator_, X, self.scores_)

    def _folds(self, codes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        if not isinstance(self.cv, int):
            return list(self.cv)
        most = min(self.cv, int(np.bincount(codes).min()))
        return list(StratifiedKFold(most).split(codes, codes)) if most > 1 else []


def score_kind(estimator) -> str:
    """Return how the scores of a classifier become log scores.

    ``"margins"`` is `decision_function` as it is, for two classes -d/2 and d/2; ``"log probabilities"`` is
    `predict_log_proba`, for naive Bayes, which computes in logarithms; ``"probabilities"`` is the logarithm
    of `predict_proba`, at least `LEAST_SHARE` / n_classes, for votes of trees and neighbours.
    """
    if hasattr(estimator, "decision_function"):
        return "margins"
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    return "log probabilities" if hasattr(last, "predict_joint_log_proba") else "probabilities"


def log_scores(estimator, X, kind: str) -> np.ndarray:
    """Return log scores (n, n_classes), float64, of a fitted classifier; the highest of each row is 0."""
    found = np.asarray(_SCORES[kind](estimator, X), np.float64)
    if found.shape != (np.shape(X)[0], len(estimator.classes_)):
        raise InputError(
            f"{type(estimator).__name__} gives scores of shape {found.shape} for {np.shape(X)[0]} rows and "
            f"{len(estimator.classes_)} classes; a temperature needs one score for each class"
        )
    return found - found.max(axis=1, keepdims=True)


def margins_of(decided: np.ndarray) -> np.ndarray:
    """Return decision values (n, n_classes), or (n,) or (n, 1) for two classes, as log scores."""
    if decided.ndim == 1 or decided.shape[1] == 1:
        half = decided.reshape(-1, 1) / 2
        decided = np.hstack([-half, half])
    return decided - decided.max(axis=1, keepdims=True)


def _margins(estimator, X) -> np.ndarray:
    return margins_of(np.asarray(estimator.decision_function(X), np.float64))


def log_probabilities(p: np.ndarray) -> np.ndarray:
    """Return logarithms of probabilities (n, n_classes) from votes; see `LEAST_SHARE`."""
    return np.log(np.maximum(p, LEAST_SHARE / p.shape[1]))


#: The first three are those of `score_kind`; files of featx 0.1 hold the others.
_SCORES: dict[str, Callable[[Any, Any], np.ndarray]] = {
    "margins": _margins,
    "log probabilities": lambda estimator, X: estimator.predict_log_proba(X),
    "probabilities": lambda estimator, X: log_probabilities(estimator.predict_proba(X)),
    "probabilities and 1e-12": lambda estimator, X: np.log(estimator.predict_proba(X) + 1e-12),
    "probabilities as scores": lambda estimator, X: estimator.predict_proba(X),
}
SCORE_KINDS = tuple(_SCORES)


def hold_out(
    estimator, X: np.ndarray, codes: np.ndarray, folds: Iterable[tuple[np.ndarray, np.ndarray]], kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and the log scores of rows held out in turn; `codes` are 0 to n_classes - 1.

    If the training part of a fold lacks a class, the held rows of this class are left out, because they say
    nothing about the temperature, and the class gets the lowest score of each other row.
    """
    rows, scores = [], []
    for train, held in folds:
        model = clone(estimator).fit(X[train], codes[train])
        held = held[np.isin(codes[held], model.classes_)]
        if len(held) and len(model.classes_) > 1:
            found = log_scores(model, X[held], kind)
            part = np.repeat(found.min(axis=1, keepdims=True), codes.max() + 1, axis=1)
            part[:, model.classes_] = found
            rows.append(held)
            scores.append(part)
    if not rows:
        raise InputError("no row could be held out to fit a temperature: every fold lacks a class")
    return np.concatenate(rows), np.concatenate(scores)


def fit_sharpness(scores: np.ndarray, codes: np.ndarray) -> float:
    """Return b = 1 / T, which minimises the log loss of held-out rows and one added observation.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes)
        Log scores; a constant for each row does not matter.
    codes : ndarray of shape (n,), int
        Column of the true class.

    Returns
    -------
    float
        1 if all scores of every row are equal; small but above 0 if scores are no better than chance.
    """
    z = np.asarray(scores, np.float64)
    z, n = z - z.max(axis=1, keepdims=True), len(z)
    distance = -float(z.mean())
    if distance <= 0:
        return 1.0
    z = z / distance
    target = float((n * z[np.arange(n), codes] + z.mean(axis=1)).sum()) / (n + 1)

    def slope(b: float) -> float:
        p = np.exp(b * z)
        return float((np.einsum("ij,ij->i", p, z) / p.sum(axis=1)).sum()) - target

    low, high = _LEAST, 1.0
    if slope(low) >= 0:
        return low / distance
    # The slope rises to n times the mean distance of the added observation, which is above 0.
    while slope(high) < 0:
        low, high = high, 4 * high
    return float(brentq(slope, low, high, rtol=1e-9)) / distance


def tempered_loss(scores: np.ndarray, codes: np.ndarray) -> float:
    """Return the mean log loss of log scores (n, n_classes), divided by the best temperature for them."""
    z = fit_sharpness(scores, codes) * np.asarray(scores, np.float64)
    return -float(log_softmax(z, axis=1)[np.arange(len(codes)), codes].mean())
