"""Divide training rows into folds, and score what was predicted out of fold."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

MOST_FOLDS = 5
#: Held-out rows that are enough to fit one number to: it costs 1 / (2 * 1000) nats on average.
ENOUGH = 1000

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


def two_folds(folds: Folds, labels) -> Folds:
    """Merge the folds into two, unless one of the two would lack a class."""
    first, second = (
        np.sort(np.concatenate([held for _, held in part]))
        for part in (folds[: len(folds) // 2], folds[len(folds) // 2 :])
    )
    n_classes = len(np.unique(labels))
    if min(len(np.unique(labels[half])) for half in (first, second)) < n_classes:
        return folds
    return [(second, first), (first, second)]


def held_fold(folds: Folds, labels, groups: np.ndarray | None, most: int | None = None) -> Folds:
    """Return the folds that are enough to fit one number, such as a temperature, to held-out scores.

    Fitted to m independent rows by maximum likelihood, one number costs 1 / (2 m) of log loss on average
    (half of chi-squared with one degree of freedom), so that one fold is enough if it holds `ENOUGH` rows, or
    rows of so many groups, which count as one each. The model that scores them has been fitted to all other
    folds, and so is closer to the final model than one that is fitted to half of the rows.

    Otherwise all folds are returned, merged into two (`two_folds`) if there are more rows than `most`.
    """
    if not folds:
        return folds
    held = folds[0][1]
    if (len(held) if groups is None else len(np.unique(groups[held]))) >= ENOUGH:
        return folds[:1]
    return two_folds(folds, labels) if most is not None and len(labels) > most else folds


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean recall of the classes in `y`."""
    _, codes = np.unique(y, return_inverse=True)
    right = np.bincount(codes, weights=predicted == y)
    return float((right / np.bincount(codes)).mean())


def fewest_rows(folds: Folds) -> int:
    """Return the size of the smallest training part."""
    return min(len(train) for train, _ in folds)
