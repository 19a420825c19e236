"""Probes as scikit-learn fits them: every setting cloned and fitted on every fold, without any shortcut.

The reference for `featx.methods.probes.fit_probe`, whose fitters compute the same from shared work. The rules
are those of featx (folds, `log_scores`, `target.best`), the fits are scikit-learn's own.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from featx.methods.probes.arguments import check_groups
from featx.methods.probes.fitters.trees import ForestFitter
from featx.methods.probes.folds import held_fold
from featx.methods.probes.selection import expand
from featx.methods.probes.table import get_probe
from featx.methods.probes.targets import describe_problem, target_of
from featx.methods.probes.temperature import (
    fit_sharpness,
    log_probabilities,
    log_scores,
    score_kind,
    tempered_loss,
)

SELECTION_ROWS = 4000
#: Parameters by which pipelines find what they define: at their default tolerance some of scikit-learn's
#: solvers stop 2 % of the log loss away from it, and its principal components are random ones of many rows.
CONVERGED = {"logreg__tol": 1e-6, "svm__tol": 1e-6, "pca__svd_solver": "full"}


@dataclass
class Slow:
    """A probe as scikit-learn fits it.

    Attributes
    ----------
    candidates : list of dict
        All settings.
    best : int
        The position of the chosen one.
    accuracies, losses : ndarray of shape (n_candidates,)
        Balanced accuracies and log losses out of fold.
    log_p : ndarray of shape (n_test, n_classes)
        Log probabilities of the test rows, after the temperature.
    scores : ndarray of shape (n_test, n_classes)
        Log scores before it.
    """

    candidates: list[dict[str, Any]]
    best: int
    accuracies: np.ndarray
    losses: np.ndarray
    log_p: np.ndarray
    scores: np.ndarray

    @property
    def chosen(self) -> dict[str, Any]:
        """The chosen settings, without the names of the steps."""
        return short(self.candidates[self.best])

    def is_tied(self, params: dict[str, Any], rows: int) -> bool:
        """Whether other settings are as good: 1 % of the log loss, and 0.3 points or one of `rows` rows."""
        for i, candidate in enumerate(self.candidates):
            if matches(short(candidate), params):
                worse = self.accuracies[self.best] - self.accuracies[i]
                return bool(
                    self.losses[i] <= 1.01 * self.losses[self.best] + 1e-4 and worse <= max(0.003, 1.5 / rows)
                )
        return False


def short(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings by the names of `FittedProbe.params`."""
    return {key.split("__")[-1]: value for key, value in settings.items()}


def matches(settings: dict[str, Any], params: dict[str, Any]) -> bool:
    """Whether `FittedProbe.params` has these settings."""
    return all(params[key] == value for key, value in settings.items())


def fit_slowly(name: str, X, y, X_test, groups=None, *, seed: int = 0, **changed) -> Slow:
    """Choose the settings of a probe, fit it and its temperature, and predict test rows.

    `changed` are parameters that are set on top, such as ``pca__svd_solver``, where the pipeline has them.
    """
    probe, target = get_probe(name), target_of("classes", seed)
    groups = check_groups(groups, len(y))
    problem, drawn = describe_problem(target, probe, y, X.shape[1])
    if drawn is not None:
        X, y, groups = X[drawn], y[drawn], None if groups is None else groups[drawn]
    estimator, grid = probe.build(problem)
    estimator.set_params(**{key: changed[key] for key in changed if key in estimator.get_params()})
    if isinstance(probe.fitter, ForestFitter):
        # scikit-learn has no such parameters: the reference is its forest on the same rows.
        X, tried = probe.fitter.prepare(X)
        estimator.set_params(forest__max_features=tried)
    kind, candidates, folds = score_kind(estimator), expand(grid), target.folds(y, groups)
    few = held_fold(folds, y, groups, 500 if probe.few_folds else 5000)
    out_of_bag = probe.out_of_bag and groups is None and estimator.steps[-1][1].oob_score

    def hold_out(rows, folds, settings):
        """Return log scores of the rows held out, and their positions."""
        fewest = min(len(train) for train, _ in folds)
        found = []
        for train, held in folds:
            model = clone(estimator).set_params(**settings)
            if model.get_params().get("pca__n_components", 0) > fewest:
                model.set_params(pca__n_components=fewest)
            model.fit(X[rows[train]], y[rows[train]])
            found.append(log_scores(model, X[rows[held]], kind).astype(np.float32))
        return np.concatenate(found), rows[np.concatenate([held for _, held in folds])]

    everything = np.arange(len(y))
    codes = np.unique(y, return_inverse=True)[1]
    held, best, accuracies, losses = None, 0, np.zeros(1), np.zeros(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if len(candidates) > 1:
            sample, sampled = everything, folds
            if len(y) > SELECTION_ROWS:
                sample = target.sample(y, SELECTION_ROWS)
                sampled = target.folds(y[sample], None if groups is None else groups[sample])
            fewest = min(len(train) for train, _ in sampled)
            candidates = [c for c in candidates if c.get("knn__n_neighbors", 0) <= fewest]
            found = [hold_out(sample, sampled, c) for c in candidates]
            rows = found[0][1]
            predicted = np.unique(y)[np.stack([scores.argmax(axis=1) for scores, _ in found])]
            losses = np.array([tempered_loss(scores, codes[rows]) for scores, _ in found])
            best, _ = target.best(y[rows], predicted, losses, None if groups is None else groups[rows])
            recalls = [[(p == y[rows])[y[rows] == label].mean() for label in np.unique(y)] for p in predicted]
            accuracies = np.mean(recalls, axis=1)
            held = found[best] if len(sample) == len(y) else None
        model = clone(estimator).set_params(**candidates[best]).fit(X, y)
        if out_of_bag:
            held = log_probabilities(model.steps[-1][1].oob_decision_function_), everything
        elif held is None:
            held = hold_out(everything, few, candidates[best])
    sharpness = fit_sharpness(held[0], codes[held[1]])
    scores = log_scores(model, X_test, kind)
    return Slow(candidates, best, accuracies, losses, log_softmax(sharpness * scores, axis=1), scores)


def log_loss(log_p: np.ndarray, codes: np.ndarray) -> float:
    """Return the mean log loss of log probabilities (n, n_classes)."""
    return -float(log_p[np.arange(len(codes)), codes].mean())


def overlapping_clusters(counts, d, dtype=np.float32, labels=None, *, scales=(0.1, 10), seed=0):
    """Return rows of unequal feature scales, one feature constant and one row of zeros, and their labels."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    X = rng.normal(size=(len(counts), d))[codes] + 2 * rng.normal(size=(len(codes), d))
    X = X * np.geomspace(*scales, d) + 3
    X[:, 0] = 7.5
    X[0] = 0
    return X.astype(dtype), codes if labels is None else np.asarray(labels)[codes]
