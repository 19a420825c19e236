"""Predict training rows out of fold, to choose a probe's settings.

Predictions are pooled over the folds and scored together (`targets`). By balanced accuracy every class counts
the same however rare it is, and a fold without an image of some class does no harm. Where classes are well
apart, many penalties of a logistic regression predict the same labels, the strongest with probabilities
hardly above chance: among equals the mean log loss of the same predictions decides. Folds are stratified,
and no group is in two of them. Work that all settings share (scaling, principal components) is done once a
fold, and folds run in threads: nothing is copied to other processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from featx.methods.probes.lbfgs import LbfgsPath

MOST_FOLDS = 5

Folds = list[tuple[np.ndarray, np.ndarray]]


def make_folds(y: np.ndarray, groups: np.ndarray | None, seed: int) -> Folds:
    """Make stratified folds in which every class can be trained.

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
    """Return all combinations of a grid; its first setting varies slowest: simpler models come first."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over the classes of the share of their rows that is right."""
    _, codes = np.unique(y, return_inverse=True)
    right = np.bincount(codes, weights=predicted == y)
    return float((right / np.bincount(codes)).mean())


def predict_out_of_fold(
    estimator,
    candidates: Sequence[dict[str, Any]],
    X: np.ndarray,
    y: np.ndarray,
    folds: Folds,
    *,
    path: bool = False,
    n_jobs: int = 1,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict the rows of each fold by every candidate fitted on the others.

    Parameters
    ----------
    estimator : estimator
        Never fitted itself; clones are.
    candidates : sequence of dict
        Parameters to set.
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,)
    folds : list of (train, held) index arrays
    path : bool, default=False
        The last step is a logistic regression of which only `C` and `class_weight` vary.
    n_jobs : int, default=1
        Threads.

    Returns
    -------
    predicted : ndarray of shape (n_candidates, n_held)
        Labels or numbers of the rows that are held out, fold after fold.
    losses : ndarray of shape (n_candidates,), or None
        Mean log losses, where `path`.
    """
    predict = _predict_by_path if path else _predict
    # Folds of whole groups may leave less than half of the rows to train on.
    estimator = limit_components(estimator, fewest_rows(folds))
    with threadpool_limits(1):  # one thread a fold; more would fight for the same cores
        parts = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(predict)(estimator, candidates, X, y, fold) for fold in folds
        )
    if not path:
        return np.concatenate(parts, axis=1), None
    predicted, losses = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    return predicted, losses.mean(axis=1)


def fewest_rows(folds: Folds) -> int:
    """Return the number of rows of the smallest training part."""
    return min(len(train) for train, _ in folds)


def limit_neighbours(candidates: list[dict[str, Any]], n_train: int) -> list[dict[str, Any]]:
    """Leave out candidates that ask for more neighbours than so many rows have."""
    return [c for c in candidates if all(v <= n_train for k, v in c.items() if k.endswith("n_neighbors"))]


def limit_components(estimator, n_train: int):
    """Return the same estimator with no more principal components than so many rows determine."""
    components = estimator.get_params().get("pca__n_components")
    if not isinstance(components, int) or components <= n_train:
        return estimator
    return clone(estimator).set_params(pca__n_components=n_train)


def _predict(estimator, candidates, X, y, fold) -> np.ndarray:
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


def _predict_by_path(estimator, candidates, X, y, fold) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and losses, each (n_candidates, n_held)."""
    train, held = fold
    shared = clone(estimator)[:-1]
    solver = LbfgsPath(shared.fit_transform(X[train], y[train]), y[train])
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
