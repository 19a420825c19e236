"""Handle targets that are classes or numbers: check and sample them, make folds, choose a candidate."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from featx.errors import DatasetError, InputError
from featx.methods.probes.folds import MOST_FOLDS, Folds, make_folds
from featx.methods.probes.probe import INPUT, Probe, Problem

_IMBALANCE = 1.5


class Classes:
    """Class labels: samples and folds are stratified, balanced accuracy and log loss choose the settings."""

    sample_name = "stratified sample"
    no_choice = f"settings not selected: some class has one {INPUT}, or one group, to train on"
    rule = (
        "balanced accuracy out of fold within one standard error of the best",
        "log loss out of fold",
        "first",
    )

    def __init__(self, seed: int):
        self._seed = seed

    def check(self, y, n: int) -> np.ndarray:
        """Check the labels of n rows, of two classes or more."""
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
        """Draw about `most` rows; return their sorted positions."""
        return stratified_sample(y, most, self._seed)

    def folds(self, y: np.ndarray, groups: np.ndarray | None) -> Folds:
        """Return folds to choose settings on, or none where that is impossible."""
        return make_folds(y, groups, self._seed)

    def problem(self, y: np.ndarray, n_train: int, dim: int) -> Problem:
        """Describe the training rows, of which `n_train` are fitted."""
        counts = np.unique(y, return_counts=True)[1]
        imbalanced = bool(counts.max() > _IMBALANCE * counts.min())
        return Problem(n_train, len(counts), dim, self._seed, imbalanced)

    def best(
        self,
        y: np.ndarray,
        predicted: np.ndarray,
        losses: np.ndarray | None,
        groups: np.ndarray | None = None,
    ) -> tuple[int, Any]:
        """Return the candidate of the lowest loss among the most accurate ones, and its balanced accuracy.

        `predicted` are out-of-fold labels (n_candidates, n), `losses` their log losses (n_candidates,).
        Without losses, and of equal ones, the first of the most accurate is taken.

        Notes
        -----
        Candidates count as accurate as the best one if their difference is within one standard error, the
        rule of Breiman et al., "Classification and Regression Trees" (1984), section 3.4.3, there in favour
        of the simplest model. The rows are the same, so it is the error of the paired difference
        D = sum_i d_i, estimated where there is no difference in truth: D^2 <= sum_i d_i^2, as in McNemar's
        statistic. For groups, d_i is the sum over a group.
        """
        _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        right = (predicted == y) / (counts[codes] * len(counts))
        accuracies = right.sum(axis=1)
        first = int(np.argmax(accuracies >= accuracies.max() - 1e-12))
        if losses is None:
            return first, float(accuracies[first])
        differences = right[first] - right
        if groups is not None:
            differences = np.stack([np.bincount(groups, weights=row) for row in differences])
        total, squares = differences.sum(axis=1), (differences**2).sum(axis=1)
        equals = np.flatnonzero(total**2 <= squares * (1 + 1e-9) + 1e-24)
        best = int(equals[losses[equals].argmin()])
        return best, float(accuracies[best])


class Numbers:
    """Numbers: mean squared error chooses the settings, and R² is reported."""

    sample_name = "sample"
    no_choice = f"settings not selected: too few {INPUT}s, or one group only, to train on"
    rule = ("mean squared error out of fold", "first")

    def __init__(self, seed: int):
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    def check(self, y, n: int) -> np.ndarray:
        """Check that the targets of n rows are finite numbers; return them as float64."""
        numbers = np.asarray(y)
        if numbers.shape != (n,) or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
            raise InputError(f"expected a finite number for each of {n} rows, got shape {numbers.shape}")
        return numbers.astype(np.float64)

    def sample(self, y: np.ndarray, most: int) -> np.ndarray:
        """Draw `most` rows; return their sorted positions."""
        return np.sort(self._rng.permutation(len(y))[:most])

    def folds(self, y: np.ndarray, groups: np.ndarray | None) -> Folds:
        """Return at most 5 folds of shuffled rows or whole groups, or none where two are impossible."""
        parts = len(y) if groups is None else len(np.unique(groups))
        # With fewer than 4 rows a fold would have a single row to train on.
        if parts < 2 or len(y) < 4:
            return []
        kind = KFold if groups is None else GroupKFold
        splitter = kind(min(MOST_FOLDS, parts), shuffle=True, random_state=self._seed)
        return list(splitter.split(np.zeros(len(y)), groups=groups))

    def problem(self, y: np.ndarray, n_train: int, dim: int) -> Problem:
        """Describe the training rows, of which `n_train` are fitted."""
        return Problem(n_train, 1, dim, self._seed)

    def best(
        self,
        y: np.ndarray,
        predicted: np.ndarray,
        losses: np.ndarray | None,
        groups: np.ndarray | None = None,
    ) -> tuple[int, Any]:
        """Return the best candidate, the first of equals, and its R² (None where all numbers are equal)."""
        errors = ((predicted - y) ** 2).mean(axis=1)
        best = int(np.argmax(errors <= errors.min() * (1 + 1e-12)))
        spread = float(y.var())
        return best, 1 - float(errors[best]) / spread if spread else None


def target_of(name: str, seed: int) -> Classes | Numbers:
    """Return the handler of the targets of a task."""
    if name not in ("classes", "numbers"):
        raise InputError(f"task must be 'classes' or 'numbers', got {name!r}")
    return Classes(seed) if name == "classes" else Numbers(seed)


def describe_problem(
    target: Classes | Numbers, probe: Probe, y: np.ndarray, dim: int
) -> tuple[Problem, np.ndarray | None]:
    """Return the problem that a probe is built for, and the positions of the rows to fit (None: all)."""
    drawn = None
    if probe.max_rows is not None and len(y) > probe.max_rows:
        drawn = target.sample(y, probe.max_rows)
    return target.problem(y, len(y) if drawn is None else len(drawn), dim), drawn


def stratified_sample(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Draw about `most` rows in the proportions of the classes, at least 5 of each class if it has them."""
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    takes = np.minimum(counts, np.maximum(5, np.round(counts * most / len(y)).astype(int)))
    order = np.random.default_rng(seed).permutation(len(y))
    by_class = order[np.argsort(codes[order], kind="stable")]
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[rank < np.repeat(takes, counts)])
