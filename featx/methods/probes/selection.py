"""Predict training rows out of fold, to choose the settings of a probe.

Predictions are pooled over the folds and scored together (`targets`): a fold may then lack a class. With
well separated classes many penalties of a logistic regression predict nearly the same labels, the strongest
with probabilities hardly above chance: among settings that are about equally accurate the mean log loss of
the same predictions decides. Folds run in threads, so that nothing is copied to other processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax

from featx.methods.probes.fitters import Fitter, SklearnFitter
from featx.methods.probes.folds import Folds
from featx.methods.probes.temperature import tempered_loss
from featx.methods.probes.training_rows import TrainingRows
from featx.threads import run_in_threads


def expand(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations of a grid; the first setting varies slowest, so simpler models come first."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


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
    fitter: Fitter,
    rows: TrainingRows,
    estimator,
    candidates: Sequence[dict[str, Any]],
    folds: Folds,
    *,
    tempered: bool = False,
    n_jobs: int = 1,
) -> OutOfFold:
    """Predict the held-out rows of each fold with every candidate, fitted on the other rows.

    For classes there are log scores and losses, `tempered` or not; for an estimator of a user that has
    `predict_proba` there are labels only.
    """
    parts = rows.parts(folds)
    if labels_only := isinstance(fitter, SklearnFitter) and not tempered and rows.task == "classes":
        each = run_in_threads(fitter.labels, [(part, estimator, candidates) for part in parts], n_jobs)
    else:
        each = fitter.fold_scores(parts, estimator, candidates, n_jobs)
    found = np.concatenate(each, axis=1)
    held = np.concatenate([held for _, held in folds])
    if labels_only or rows.task == "numbers":
        return OutOfFold(held, found)
    loss = tempered_loss if tempered else _log_loss
    losses = np.array([loss(scores, rows.codes[held]) for scores in found])
    return OutOfFold(held, rows.classes[found.argmax(axis=2)], losses, found)


def _log_loss(scores: np.ndarray, codes: np.ndarray) -> float:
    return -float(log_softmax(scores, axis=1)[np.arange(len(codes)), codes].mean())


def limit_neighbours(candidates: list[dict[str, Any]], n_train: int) -> list[dict[str, Any]]:
    """Return the candidates with at most `n_train` neighbours."""
    return [c for c in candidates if all(v <= n_train for k, v in c.items() if k.endswith("n_neighbors"))]
