"""Define what fitting labels and fitting numbers do differently: checks, samples, folds and choices."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from featx.errors import DatasetError, InputError
from featx.methods.probes.probe import Probe, Problem
from featx.methods.probes.selection import MOST_FOLDS, Folds, balanced_accuracy, make_folds

_IMBALANCE = 1.5


class Classes:
    """Labels: samples and folds are stratified, and settings are chosen by balanced accuracy."""

    sample_name = "stratified sample"
    no_choice = "settings not selected: some class has one image, or one group, to train on"
    rule = ("balanced accuracy out of fold", "log loss out of fold", "first")

    def __init__(self, seed: int):
        self._seed = seed

    def check(self, y, n: int) -> np.ndarray:
        """Return labels of n rows, of two classes or more."""
        labels = np.asarray(y)
        if labels.shape != (n,):
            raise InputError(f"expected one label for each of {n} rows, got shape {labels.shape}")
        if labels.dtype.kind not in "iu":
            raise InputError(f"labels must be integers (indices into the classes), got {labels.dtype}")
        classes = np.unique(labels)
        if len(classes) < 2:
            raise DatasetError(f"training needs at least 2 classes, got 1 (label {classes[0]} only)")
        return labels

    def sample(self, y: np.ndarray, most: int) -> np.ndarray:
        """Draw about so many rows, sorted."""
        return stratified_sample(y, most, self._seed)

    def folds(self, y: np.ndarray, groups: np.ndarray | None) -> Folds:
        """Make folds to choose settings on; none where that is impossible."""
        return make_folds(y, groups, self._seed)

    def problem(self, y: np.ndarray, n_train: int, dim: int) -> Problem:
        """Describe the training rows, of which n_train are fitted."""
        counts = np.unique(y, return_counts=True)[1]
        imbalanced = bool(counts.max() > _IMBALANCE * counts.min())
        return Problem(n_train, len(counts), dim, self._seed, imbalanced)

    def best(self, y: np.ndarray, predicted: np.ndarray, losses: np.ndarray | None) -> tuple[int, Any]:
        """Return the candidate to take, and its balanced accuracy.

        Of equal accuracies the lowest loss decides, where there are losses; of what is still equal the first
        is taken.

        Parameters
        ----------
        y : ndarray of shape (n,)
        predicted : ndarray of shape (n_candidates, n)
            Out-of-fold labels.
        losses : ndarray of shape (n_candidates,), or None
            Log losses.
        """
        accuracies = np.array([balanced_accuracy(y, row) for row in predicted])
        equals = np.flatnonzero(accuracies >= accuracies.max() - 1e-12)
        best = int(equals[0] if losses is None else equals[losses[equals].argmin()])
        return best, float(accuracies[best])


class Numbers:
    """Numbers: settings are chosen by mean squared error, and R² is reported."""

    sample_name = "sample"
    no_choice = "settings not selected: too few images, or one group only, to train on"
    rule = ("mean squared error out of fold", "first")

    def __init__(self, seed: int):
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    def check(self, y, n: int) -> np.ndarray:
        """Return finite numbers of n rows, float64."""
        numbers = np.asarray(y)
        if numbers.shape != (n,) or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
            raise InputError(f"expected a finite number for each of {n} rows, got shape {numbers.shape}")
        return numbers.astype(np.float64)

    def sample(self, y: np.ndarray, most: int) -> np.ndarray:
        """Draw so many rows, sorted."""
        return np.sort(self._rng.permutation(len(y))[:most])

    def folds(self, y: np.ndarray, groups: np.ndarray | None) -> Folds:
        """Make at most 5 folds of shuffled rows or whole groups; none where two are not possible."""
        parts = len(y) if groups is None else len(np.unique(groups))
        # Less than 4 rows leave folds with a single one to train on.
        if parts < 2 or len(y) < 4:
            return []
        kind = KFold if groups is None else GroupKFold
        splitter = kind(min(MOST_FOLDS, parts), shuffle=True, random_state=self._seed)
        return list(splitter.split(np.zeros(len(y)), groups=groups))

    def problem(self, y: np.ndarray, n_train: int, dim: int) -> Problem:
        """Describe the training rows, of which n_train are fitted."""
        return Problem(n_train, 1, dim, self._seed)

    def best(self, y: np.ndarray, predicted: np.ndarray, losses: np.ndarray | None) -> tuple[int, Any]:
        """Return the candidate to take, the first of equals, and its R² (None of numbers that are alike)."""
        errors = ((predicted - y) ** 2).mean(axis=1)
        best = int(np.argmax(errors <= errors.min() * (1 + 1e-12)))
        spread = float(y.var())
        return best, 1 - float(errors[best]) / spread if spread else None


def target_of(name: str, seed: int) -> Classes | Numbers:
    """Return how the targets of a task are handled."""
    if name not in ("classes", "numbers"):
        raise InputError(f"task must be 'classes' or 'numbers', got {name!r}")
    return Classes(seed) if name == "classes" else Numbers(seed)


def describe_problem(
    target: Classes | Numbers, probe: Probe, y: np.ndarray, dim: int
) -> tuple[Problem, np.ndarray | None]:
    """Return what a probe is told of its training rows, and which of them it is fitted on (None: all)."""
    drawn = None
    if probe.max_rows is not None and len(y) > probe.max_rows:
        drawn = target.sample(y, probe.max_rows)
    return target.problem(y, len(y) if drawn is None else len(drawn), dim), drawn


def stratified_sample(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Draw about `most` rows, sorted, in the proportions of the classes; five of each where there are."""
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    takes = np.minimum(counts, np.maximum(5, np.round(counts * most / len(y)).astype(int)))
    order = np.random.default_rng(seed).permutation(len(y))
    by_class = order[np.argsort(codes[order], kind="stable")]
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[rank < np.repeat(takes, counts)])
