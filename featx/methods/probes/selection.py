"""Predict training rows out of fold, to choose the settings of a probe.

Predictions are pooled over the folds and scored together (`targets`): a fold may then lack a class. With
well separated classes many penalties of a logistic regression predict nearly the same labels, the strongest
with probabilities hardly above chance: among settings that are about equally accurate the mean log loss of
the same predictions decides. Steps before the first one that varies (scaling, principal components) are
fitted once for each fold. Folds run in threads, so that nothing is copied to other processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from featx.methods.probes.temperature import log_scores, score_kind, tempered_loss

MOST_FOLDS = 5

Folds = list[tuple[np.ndarray, np.ndarray]]


def make_folds(y: np.ndarray, groups: np.ndarray | None, seed: int) -> Folds:
    """Return stratified folds, (train, held) positions, with every class in every training part.

    There are at most 5 folds, and no more than the smallest class has images (or groups). There are none
    where that leaves fewer than 2, or where the groups cannot be divided so.
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
        # Discriminant analysis needs more rows than classes.
        if len(folds) > 1 and all(
            len(np.unique(y[train])) == len(classes) < len(train) for train, _ in folds
        ):
            return folds
    return []


def expand(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations of a grid; the first setting varies slowest, so simpler models come first."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean recall of the classes in `y`."""
    _, codes = np.unique(y, return_inverse=True)
    right = np.bincount(codes, weights=predicted == y)
    return float((right / np.bincount(codes)).mean())


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of held-out rows by every candidate.

    Attributes
    ----------
    rows : ndarray of shape (n_held,)
        Positions of the rows, fold after fold.
    predicted : ndarray of shape (n_candidates, n_held)
        Labels or numbers.
    losses : ndarray of shape (n_candidates,), or None
        Mean log losses; with `scored`, after dividing by the best temperature.
    scores : ndarray of shape (n_candidates, n_held, n_classes), or None
        Log scores (`temperature.log_scores`), float32.
    """

    rows: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray | None = None
    scores: np.ndarray | None = None

    def of(self, candidate: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the positions and the log scores of a candidate, or None without scores."""
        return None if self.scores is None else (self.rows, self.scores[candidate])


def predict_out_of_fold(
    estimator,
    candidates: Sequence[dict[str, Any]],
    X: np.ndarray,
    y: np.ndarray,
    folds: Folds,
    *,
    path: bool = False,
    scored: bool = False,
    n_jobs: int = 1,
) -> OutOfFold:
    """Predict the held-out rows of each fold with every candidate, fitted on the other rows.

    With `path` the last step of the estimator is a logistic regression, of which only `C` and `class_weight`
    vary. With either `path` or `scored` there are log scores and losses.
    """
    predict = _predict_by_path if path else _predict_scores if scored else _predict
    # Folds of whole groups may leave fewer than half of the rows to train on.
    estimator = limit_components(estimator, fewest_rows(folds))
    with threadpool_limits(1):  # one thread per fold; more would compete for the same cores
        parts = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(predict)(estimator, candidates, X, y, fold) for fold in folds
        )
    rows, found = np.concatenate([held for _, held in folds]), np.concatenate(parts, axis=1)
    if not path and not scored:
        return OutOfFold(rows, found)
    classes, codes = np.unique(y, return_inverse=True)
    loss = tempered_loss if scored else _log_loss
    losses = np.array([loss(scores, codes[rows]) for scores in found])
    return OutOfFold(rows, classes[found.argmax(axis=2)], losses, found)


def _log_loss(scores: np.ndarray, codes: np.ndarray) -> float:
    return -float(log_softmax(scores, axis=1)[np.arange(len(codes)), codes].mean())


def fewest_rows(folds: Folds) -> int:
    """Return the size of the smallest training part."""
    return min(len(train) for train, _ in folds)


def limit_neighbours(candidates: list[dict[str, Any]], n_train: int) -> list[dict[str, Any]]:
    """Return the candidates with at most `n_train` neighbours."""
    return [c for c in candidates if all(v <= n_train for k, v in c.items() if k.endswith("n_neighbors"))]


def limit_components(estimator, n_train: int):
    """Return the estimator with at most `n_train` principal components."""
    components = estimator.get_params().get("pca__n_components")
    if not isinstance(components, int) or components <= n_train:
        return estimator
    return clone(estimator).set_params(pca__n_components=n_train)


def _predict(estimator, candidates, X, y, fold) -> np.ndarray:
    """Return the labels or numbers of the held-out rows, (n_candidates, n_held)."""
    return np.stack([model.predict(held) for model, held in _fit_each(estimator, candidates, X, y, fold)])


def _predict_scores(estimator, candidates, X, y, fold) -> np.ndarray:
    """Return the log scores of the held-out rows, (n_candidates, n_held, n_classes)."""
    kind = score_kind(estimator)
    found = [log_scores(model, held, kind) for model, held in _fit_each(estimator, candidates, X, y, fold)]
    return np.stack(found).astype(np.float32)


def _fit_each(estimator, candidates, X, y, fold) -> Iterator[tuple[Any, np.ndarray]]:
    """Fit every candidate to a fold; yield it with its inputs for the held-out rows."""
    train, held = fold
    X_train, X_held = X[train], X[held]
    model = clone(estimator)
    names = {key.split("__")[0] for candidate in candidates for key in candidate}
    if isinstance(model, Pipeline) and names <= {name for name, _ in model.steps}:
        # Steps before the first one that varies are shared; the last step is fitted for each candidate.
        varied = [i for i, (name, _) in enumerate(model.steps[:-1]) if name in names]
        first = varied[0] if varied else len(model.steps) - 1
        if first:
            shared = model[:first]
            X_train, X_held = shared.fit_transform(X_train, y[train]), shared.transform(X_held)
        model = Pipeline(model.steps[first:])
    for candidate in candidates:
        yield clone(model).set_params(**candidate).fit(X_train, y[train]), X_held


def _predict_by_path(estimator, candidates, X, y, fold) -> np.ndarray:
    """Return the log scores of the held-out rows, (n_candidates, n_held, n_classes)."""
    train, held = fold
    shared = clone(estimator)[:-1]
    solver = LbfgsPath(shared.fit_transform(X[train], y[train]), y[train])
    X_held = shared.transform(X[held])
    found = np.empty((len(candidates), len(held), len(solver.classes)), np.float32)
    settings = [{key.split("__")[-1]: value for key, value in c.items()} for c in candidates]
    # In order of weights and penalties, so that each solution is close to the one before.
    for i in sorted(
        range(len(candidates)), key=lambda i: (str(settings[i].get("class_weight")), settings[i]["C"])
    ):
        weights = compute_sample_weight(settings[i].get("class_weight"), y[train])
        coef, intercept = solver.solve(settings[i]["C"], sample_weight=weights, tol=1e-3)
        scores = X_held @ coef.T + intercept
        if len(intercept) == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        found[i] = scores - scores.max(axis=1, keepdims=True)
    return found
