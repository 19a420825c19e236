"""Fit logistic regression to sparse rows, such as TF-IDF.

*Few rows.* The coefficients of a model with an L2 penalty lie in the span of its training rows, so that n
coordinates of each row say as much as d features. With the Gram matrix K = X X^T = U S U^T, the rows of
B = U S^(1/2) have the inner products of the rows of X; a model with coefficients b on them has the penalty
and the decision values of the one with X^T U S^(-1/2) b on X. With 100 rows of 20,000 terms and 30 classes
the solver then has 3,000 numbers to find instead of 600,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featx.methods.probes.fitters.fitter import Fitter, Settings, of_last_step
from featx.methods.probes.temperature import margins_of

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part

#: Up to this number of rows they get coordinates: the decomposition takes time with the third power.
_FEW_ROWS = 800
#: `tol` of the solver for out-of-fold scores.
_SELECTION = 1e-4
#: Directions with less than this share of the largest squared length are rounding errors.
_RANK = 1e-9


class SparseLogisticFitter(Fitter):
    """Fit a pipeline that ends in logistic regression, of which `C` and `class_weight` vary."""

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        steps = clone(estimator[:-1])
        rows = _Rows(steps.fit_transform(part.raw, part.y))
        held = rows.locate(steps.transform(part.raw_held))
        models = _fit_each(estimator, rows, part.y, candidates, _SELECTION)
        found = [model.decision_function(held) for model in models]
        return np.stack([margins_of(np.asarray(one, np.float64)) for one in found]).astype(np.float32)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        steps = clone(estimator[:-1])
        rows = _Rows(steps.fit_transform(part.raw, part.y))
        (model,) = _fit_each(estimator, rows, part.y, [settings])
        model.set_params(warm_start=False)
        model.coef_ = rows.coefficients(model.coef_)
        model.n_features_in_ = model.coef_.shape[1]
        return Pipeline([*steps.steps, (estimator.steps[-1][0], model)])


class _Rows:
    """Training rows (n, d), or their coordinates where they are few: `x` is what a model is fitted to."""

    def __init__(self, X: Any):
        self._X, self._to = X, None
        self.x = X
        if X.shape[0] <= min(_FEW_ROWS, X.shape[1]):
            lengths, U = np.linalg.eigh((X @ X.T).toarray().astype(np.float64))
            kept = lengths > _RANK * max(lengths[-1], 1e-30)
            if kept.any():
                root = np.sqrt(lengths[kept])
                self.x, self._to = U[:, kept] * root, U[:, kept] / root

    def locate(self, other: Any) -> Any:
        """Return the coordinates of other rows."""
        return other if self._to is None else (other @ self._X.T).toarray() @ self._to

    def coefficients(self, found: np.ndarray) -> np.ndarray:
        """Return the coefficients (k, d) on features of those on coordinates."""
        return found if self._to is None else (self._X.T @ (self._to @ found.T)).T


def _fit_each(
    estimator: Any, rows: _Rows, y: np.ndarray, candidates: Sequence[Settings], tol: float | None = None
) -> Iterator[Any]:
    """Yield a model for each candidate, each to be used before the next; `tol` is that of the solver.

    A model starts from the solution for the candidate before it with the same class weights.
    """
    last = estimator.steps[-1][1]
    models: dict[str, Any] = {}
    for candidate in candidates:
        settings = of_last_step(estimator, [candidate])[0] | {"warm_start": True}
        settings |= {} if tol is None else {"tol": tol}
        model = models.setdefault(str(settings["class_weight"]), clone(last))
        yield model.set_params(**settings).fit(rows.x, y)
