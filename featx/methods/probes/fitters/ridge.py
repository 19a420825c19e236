"""Fit ridge classifiers and ridge regression in closed form: every penalty from one scatter matrix.

With rows X (n, d) and targets Y (n, k), both centred by their weighted means, and W the diagonal matrix of
the weights::

    B = (X^T W X + a I)^-1 X^T W Y = X^T W^1/2 (W^1/2 X X^T W^1/2 + a I)^-1 W^1/2 Y

of which the smaller system is solved. Each penalty takes one Cholesky factorisation; an eigendecomposition
would take as long as some twenty of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh
from sklearn.preprocessing import LabelBinarizer

from featx.methods.probes.fitters.fitter import Fitter, Settings, of_last_step
from featx.methods.probes.fitters.pipelines import fit_scaler
from featx.methods.probes.temperature import margins_of

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part

# Rows whose means are below this count as centred: the scatter changes by 1e-10 of its diagonal at most.
_CENTRED = 1e-5


class RidgeFitter(Fitter):
    """Fit a pipeline of a scaler and a ridge classifier or regression, of which the penalty and weights vary.

    The fold's scatter matrix, or the kernel matrix of few rows, is shared with other probes.
    """

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        settings = of_last_step(estimator, candidates)
        equations: dict[str | None, _NormalEquations] = {}
        found = []
        for chosen in settings:
            weight = chosen.get("class_weight")
            if weight not in equations:
                equations[weight] = _NormalEquations(part, _targets(part), weight)
            # Single precision, as in scikit-learn, is enough to compare penalties.
            coef, intercept = equations[weight].solve(chosen["alpha"], part.dtype)
            found.append(part.held @ coef.astype(part.held.dtype).T + intercept)
        if part.task == "numbers":
            return np.stack(found)[:, :, 0]
        return np.stack([margins_of(scores) for scores in found]).astype(np.float32)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        model = fit_scaler(part, estimator, settings)
        ridge = model.steps[-1][1]
        equations = _NormalEquations(part, _targets(part), getattr(ridge, "class_weight", None))
        coef, intercept = equations.solve(ridge.alpha)
        return set_ridge(model, coef, intercept, part.classes if part.task == "classes" else None, part.dtype)


def set_ridge(model: Any, coef: np.ndarray, intercept: np.ndarray, classes: Any, dtype: Any) -> Any:
    """Give the ridge at the end of a pipeline its coefficients (k, d), intercepts (k,) and classes."""
    ridge = model.steps[-1][1]
    coef, intercept = coef.astype(dtype), intercept.astype(dtype)
    # Scikit-learn drops the axis of a single target.
    single = len(intercept) == 1
    ridge.coef_ = coef[0] if single else coef
    ridge.intercept_ = intercept
    if classes is None:
        ridge.intercept_ = intercept[0]
    else:
        ridge._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(classes)
        ridge.classes_ = ridge._label_binarizer.classes_
    ridge.n_features_in_, ridge.n_iter_, ridge.solver_ = coef.shape[1], None, "cholesky"
    return model


class _NormalEquations:
    """The equations for the training rows of a part, to be solved for any penalty.

    Weights are those of the classes, so that X^T W Y and the weighted mean are sums over classes.
    """

    def __init__(self, part: Part, targets: np.ndarray, class_weight: str | None):
        self._part, self._weighted = part, class_weight is not None
        self._dual = len(part.train) < part.dim
        counts, self._sums = part.class_sums()
        # The only weights of the catalogue are "balanced" ones.
        of_class = np.ones(len(counts)) if class_weight is None else counts.sum() / (len(counts) * counts)
        self._of_class, self._weights, total = of_class, of_class[part.codes], of_class @ counts
        # Standardised rows have a mean of zero only if all weights are equal, and up to rounding errors.
        self.mean = of_class @ self._sums / total
        self._target_mean = self._weights @ targets / total
        self._targets = targets

    def solve(self, alpha: float, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (k, d) and intercepts (k,) for one penalty; the system is solved in `dtype`."""
        if self._dual:
            rows, roots = self._part.rows, np.sqrt(self._weights)[:, None]
            dual = roots * solve(self._gram, alpha, roots * (self._targets - self._target_mean), dtype)
            coef = (rows.T @ dual.astype(rows.dtype)).T - np.outer(dual.sum(axis=0), self.mean)
        else:
            coef = solve(self._gram, alpha, self._moments, dtype).T
        return coef, self._target_mean - coef @ self.mean

    @cached_property
    def _moments(self) -> np.ndarray:
        """X^T W Y, (d, k). As Y is centred, X need not be."""
        part = self._part
        if part.task == "numbers":
            return part.cross()[:, None]
        codes = np.arange(len(part.classes))
        return self._sums.T @ (self._of_class[:, None] * (targets_of(codes, codes) - self._target_mean))

    @cached_property
    def _gram(self) -> np.ndarray:
        """The matrix of the smaller system without the penalty, of centred rows."""
        part, weights = self._part, self._weights
        if not self._dual:
            roots = np.sqrt(weights).astype(part.dtype)[:, None]
            scatter = part.products.scatter(part.rows * roots) if self._weighted else part.scatter
            if np.abs(self.mean).max() < _CENTRED:
                return scatter
            return scatter - np.outer(weights.sum() * self.mean, self.mean)
        along = part.kernel @ (weights / weights.sum())
        length = along @ weights / weights.sum()
        roots = np.sqrt(weights)
        return (part.kernel - along[:, None] - along + length) * np.outer(roots, roots)


def _targets(part: Part) -> np.ndarray:
    """Return the targets (n, k): numbers, or those of the classes."""
    if part.task == "numbers":
        return np.asarray(part.y, np.float64)[:, None]
    return targets_of(part.codes, np.arange(len(part.classes)))


def targets_of(codes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return -1 and 1 for each class, for two classes those of the second; (n, k)."""
    targets = np.where(codes[:, None] == classes, 1.0, -1.0)
    return targets[:, 1:] if len(classes) == 2 else targets


def solve(gram: np.ndarray, alpha: float, right: np.ndarray, dtype: Any) -> np.ndarray:
    """Return (G + a I)^-1 R for a matrix G without negative eigenvalues, by a factorisation in `dtype`."""
    # LAPACK overwrites matrices in the order of columns, and copies others.
    regular = np.array(gram, dtype).T
    regular.flat[:: len(gram) + 1] += alpha
    try:
        factor = cho_factor(regular, lower=True, overwrite_a=True, check_finite=False)
        return cho_solve(factor, right.astype(dtype), check_finite=False)
    except LinAlgError:
        # A penalty far below the rounding errors: negative eigenvalues count as zero.
        values, vectors = eigh(gram, check_finite=False)
        return vectors @ ((vectors.T @ right) / (np.maximum(values, 0) + alpha)[:, None])
