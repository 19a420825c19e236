"""Find leaks (test inputs that were trained on, as copies) and inputs with two labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featx.analysis.data_checks.duplicates import NearDuplicates
from featx.errors import InputError

__all__ = ["Leaks", "find_conflicting_labels", "find_leaks"]


@dataclass(frozen=True)
class Leaks:
    """Test images, texts or clips that are copies of a training one.

    Attributes
    ----------
    test : ndarray of shape (n_leaks,), int64
        Positions of these test inputs, in the order of the argument `test`.
    train : ndarray of shape (n_leaks,), int64
        Position of a training input that it is a copy of.
    leaked : ndarray of shape (n_test,), bool
        Mask of these inputs among the test inputs.
    """

    test: np.ndarray
    train: np.ndarray
    leaked: np.ndarray

    def __len__(self) -> int:
        return len(self.test)

    @property
    def share(self) -> float:
        """Share of the test inputs that leaked."""
        return float(self.leaked.mean()) if len(self.leaked) else 0.0


def find_leaks(duplicates: NearDuplicates, train: np.ndarray, test: np.ndarray) -> Leaks:
    """Find the test images, texts or clips of which a copy is in training.

    Parameters
    ----------
    duplicates : NearDuplicates
        Near-duplicates among all inputs; `NearDuplicates.pictures` are the kinds that count.
    train, test : array-like of int
        Positions of the training and the test inputs.
    """
    train, test = np.asarray(train, np.int64), np.asarray(test, np.int64)
    rows = np.concatenate([train, test])
    if len(rows) and (rows.min() < 0 or rows.max() >= duplicates.n):
        raise InputError(f"train and test must be positions below {duplicates.n}, got {rows.max()}")
    both = np.intersect1d(train, test)
    if len(both):
        raise InputError(f"row {both[0]} is in train and in test; expected no row in both")
    groups = duplicates.groups()
    trained = np.full(duplicates.n, -1)
    trained[groups[train[::-1]]] = train[::-1]  # the first training image of a picture
    partner = trained[groups[test]]
    leaked = partner >= 0
    partners = dict(zip(test[leaked].tolist(), partner[leaked].tolist(), strict=True))
    # Name the nearest direct duplicate (visited last) rather than a copy of a copy.
    is_train = np.zeros(duplicates.n, bool)
    is_train[train] = True
    for a, b in duplicates.pairs[duplicates.of(*duplicates.pictures)][::-1].tolist():
        for one, other in ((a, b), (b, a)):
            if one in partners and is_train[other]:
                partners[one] = other
    found = test[leaked]
    return Leaks(found, np.array([partners[i] for i in found.tolist()], np.int64), leaked)


def find_conflicting_labels(duplicates: NearDuplicates, labels: np.ndarray) -> list[np.ndarray]:
    """Find copies with more than one label: at least one label is wrong, or both are right.

    Parameters
    ----------
    duplicates : NearDuplicates
    labels : array-like of shape (n,)

    Returns
    -------
    list of ndarray of int64
        The positions of the copies of each such input.
    """
    labels = np.asarray(labels)
    if labels.shape != (duplicates.n,):
        raise InputError(f"expected one label for each of {duplicates.n} inputs, got shape {labels.shape}")
    groups = duplicates.groups()
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted((m for m in members if len(np.unique(labels[m])) > 1), key=lambda m: int(m[0]))
