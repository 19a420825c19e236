"""Choosing a classifier's settings by cross-validation on its training rows.

The score is the balanced accuracy of the out-of-fold predictions, pooled over the folds: every class counts
the same however rare it is, and a fold without an image of some class does no harm. Where the classes are
well apart many penalties of a logistic regression predict all the same labels, and the strongest of them with
probabilities that are hardly above chance: among equals the mean log loss of the same out-of-fold predictions
decides. Folds are stratified, and no group is in two of them. Work that all settings share (scaling,
principal components) is done once per fold, and folds run in threads: nothing is copied to other processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from featx.methods.probes.logistic import LogisticPath

MOST_FOLDS = 5

Folds = list[tuple[np.ndarray, np.ndarray]]


class Validated(NamedTuple):
    """What the out-of-fold predictions of each candidate are worth.

    Attributes
    ----------
    accuracies : ndarray of shape (n_candidates,)
        Balanced accuracies.
    losses : ndarray of shape (n_candidates,), or None
        Mean log losses; None where only labels were predicted.
    """

    accuracies: np.ndarray
    losses: np.ndarray | None

    def best(self) -> int:
        """The candidate of the highest accuracy, of equals that of the lowest loss, of those the first."""
        equals = np.flatnonzero(self.accuracies >= self.accuracies.max() - 1e-12)
        return int(equals[0] if self.losses is None else equals[self.losses[equals].argmin()])


def make_folds(y: np.ndarray, groups: np.ndarray | None, seed: int) -> Folds:
    """Stratified folds in which every class can be trained.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels.
    groups : ndarray of shape (n,), or None
        Rows that stay together.
    seed : int
        Seed of the shuffle.

    Returns
    -------
    list of (train, held) index arrays
        At most 5 folds, and no more than the smallest class has images (or groups). Empty when that
        leaves fewer than 2, or when no grouping of the groups leaves every class in every training part.
    """
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    most = min(MOST_FOLDS, int(counts.min()))
    if groups is None:
        if most < 2:
            return []
        return list(StratifiedKFold(most, shuffle=True, random_state=seed).split(y, y))
    pairs = np.unique(np.column_stack([codes, np.unique(groups, return_inverse=True)[1]]), axis=0)
    most = min(most, int(np.bincount(pairs[:, 0]).min()))
    for n_folds in range(most, 1, -1):
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        folds = [(train, held) for train, held in splitter.split(y, y, groups) if len(held)]
        # Discriminant analysis needs more rows than classes, and less than that selects nothing anyway.
        if len(folds) > 1 and all(
            len(np.unique(y[train])) == len(classes) < len(train) for train, _ in folds
        ):
            return folds
    return []


def expand(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of a grid, the first setting varying slowest, so that simpler models come first."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes of the share of their rows that is predicted correctly."""
    _, codes = np.unique(y, return_inverse=True)
    right = np.bincount(codes, weights=predicted == y)
    return float((right / np.bincount(codes)).mean())


def cross_validate(
    estimator,
    candidates: Sequence[dict[str, Any]],
    X: np.ndarray,
    y: np.ndarray,
    folds: Folds,
    *,
    path: bool = False,
    n_jobs: int = 1,
) -> Validated:
    """Pooled out-of-fold balanced accuracy of each candidate, and log loss where the path gives it.

    Parameters
    ----------
    estimator : estimator
        Never fitted itself; clones are.
    candidates : sequence of dict
        Parameters to set.
    X : ndarray of shape (n, d)
        Rows.
    y : ndarray of shape (n,)
        Labels.
    folds : list of (train, held) index arrays
        As from `make_folds`.
    path : bool, default=False
        The last step is a logistic regression of which only `C` and `class_weight` vary.
    n_jobs : int, default=1
        Threads.

    Returns
    -------
    Validated
        With losses where `path`.
    """
    predict = _logistic_fold if path else _plain_fold
    with threadpool_limits(1):  # one thread a fold; more would fight for the same cores
        parts = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(predict)(estimator, candidates, X, y, fold) for fold in folds
        )
    held = np.concatenate([fold[1] for fold in folds])
    losses = None
    if path:
        losses = np.concatenate([part[1] for part in parts], axis=1).mean(axis=1)
        parts = [part[0] for part in parts]
    predicted = np.concatenate(parts, axis=1)
    return Validated(np.array([balanced_accuracy(y[held], row) for row in predicted]), losses)


def _plain_fold(estimator, candidates, X, y, fold) -> np.ndarray:
    train, held = fold
    X_train, X_held = X[train], X[held]
    model = clone(estimator)
    prefix = ""
    if isinstance(model, Pipeline):
        prefix = model.steps[-1][0] + "__"
        if len(model.steps) > 1 and all(key.startswith(prefix) for c in candidates for key in c):
            shared = model[:-1]
            X_train = shared.fit_transform(X_train, y[train])
            X_held = shared.transform(X_held)
            model = model.steps[-1][1]
        else:
            prefix = ""
    rows = []
    for candidate in candidates:
        settings = {key.removeprefix(prefix): value for key, value in candidate.items()}
        rows.append(clone(model).set_params(**settings).fit(X_train, y[train]).predict(X_held))
    return np.stack(rows)


def _logistic_fold(estimator, candidates, X, y, fold) -> tuple[np.ndarray, np.ndarray]:
    """Labels and losses, each (n_candidates, n_held)."""
    train, held = fold
    shared = clone(estimator)[:-1]
    solver = LogisticPath(shared.fit_transform(X[train], y[train]), y[train])
    X_held = shared.transform(X[held])
    true = np.arange(len(held)), np.searchsorted(solver.classes, y[held])
    predicted = np.empty((len(candidates), len(held)), y.dtype)
    losses = np.empty((len(candidates), len(held)))
    settings = [{key.split("__")[-1]: value for key, value in c.items()} for c in candidates]
    # One kind of weights after the other, penalties in order: each solution is near the one before.
    for i in sorted(
        range(len(candidates)), key=lambda i: (str(settings[i].get("class_weight")), settings[i]["C"])
    ):
        weights = compute_sample_weight(settings[i].get("class_weight"), y[train])
        coef, intercept = solver.solve(settings[i]["C"], sample_weight=weights, tol=1e-3)
        scores = X_held @ coef.T + intercept
        if len(intercept) == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        predicted[i] = solver.classes[scores.argmax(axis=1)]
        losses[i] = -log_softmax(scores, axis=1)[true]
    return predicted, losses
