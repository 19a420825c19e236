"""Proxy A-distance: can a linear classifier tell the two sets apart, and by which images?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.analysis.distances.units import check_units
from featx.analysis.rows import check_two_sets
from featx.errors import InputError

_FOLDS = 5
_COMPONENTS = 256  # principal components at most: more take longer and change nothing


@dataclass(frozen=True)
class DomainClassifier:
    """Out-of-fold results of a linear classifier that tells two sets apart.

    Attributes
    ----------
    error : float
        Share of mistakes, with both sets weighted equally: 0.5 is guessing.
    log_ratio : ndarray of shape (n + m,)
        ln p_Y(row) / p_X(row) of the rows of X and then of Y: the density ratio that the classifier implies.
    """

    error: float
    log_ratio: np.ndarray

    @property
    def proxy_a_distance(self) -> float:
        """``2 (1 - 2 error)``; 0 if chance makes the error larger than 0.5."""
        return max(2 * (1 - 2 * self.error), 0.0)


def domain_classifier(X: Any, Y: Any, *, units: Any = None, seed: int = 0) -> DomainClassifier:
    """Tell the rows of two sets apart by a linear classifier, out of fold.

    It is a logistic regression on the first principal components (256 at most) of standardised embeddings,
    with equal weights of the two sets, in 5 stratified folds.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (m, d)
        n and m at least 5.
    units : array-like of shape (n + m,), int, optional
        The unit of each row of X and then of Y, such as the scene of a frame; no unit is on both sides of a
        fold, and there are no more folds than a set has units. Default: each row is its own unit.
    seed : int, default=0
        Seed of the folds.

    Raises
    ------
    InputError
        A set has too few rows, or its units cannot be divided into folds.

    References
    ----------
    For the density ratio: M. Sugiyama, T. Suzuki, T. Kanamori, "Density ratio estimation in machine
    learning" (2012), chapter 4.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from featx.methods.probes.folds import make_folds

    x, y = check_two_sets(X, Y)
    if min(len(x), len(y)) < _FOLDS:
        raise InputError(
            f"a domain classifier needs at least {_FOLDS} rows of each set, got {len(x)} and {len(y)}"
        )
    rows = np.concatenate([x, y])
    side = np.repeat([0, 1], [len(x), len(y)])
    check_units(units, len(x), len(y))
    # A unit with a row in each set must not be on both sides of a fold either.
    if units is None or len(np.unique(units)) == len(rows):
        folds = list(StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(rows, side))
    else:
        folds = make_folds(side, np.asarray(units), seed)
    if not folds:
        raise InputError("a set has too few units for a domain classifier: at least 2 are needed in each set")
    most = min(_COMPONENTS, rows.shape[1], len(rows) // 2, *(len(train) for train, _ in folds))
    model = make_pipeline(
        StandardScaler(),
        PCA(most, random_state=seed),
        LogisticRegression(C=1 / most, class_weight="balanced", max_iter=1000),
    )
    # With equal weights of the sets, the log odds are the log ratio of the densities.
    log_ratio = cross_val_predict(model, rows, side, cv=folds, method="decision_function")
    wrong = (log_ratio > 0) != (side == 1)
    return DomainClassifier(float((wrong[side == 0].mean() + wrong[side == 1].mean()) / 2), log_ratio)


def proxy_a_distance(X: Any, Y: Any, *, seed: int = 0) -> float:
    """Return the proxy A-distance ``2 (1 - 2 e)``, e the cross-validated error of `domain_classifier`.

    Parameters
    ----------
    X, Y, seed
        As for `domain_classifier`.

    Returns
    -------
    float
        From 0 (the sets cannot be told apart) to 2.

    References
    ----------
    S. Ben-David et al., "A theory of learning from different domains", Machine Learning 79 (2010), section
    4; S. Ben-David et al., "Analysis of representations for domain adaptation", NeurIPS 2006.
    """
    return domain_classifier(X, Y, seed=seed).proxy_a_distance
