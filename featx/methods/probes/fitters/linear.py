"""Fit logistic regression and linear SVMs: all folds at once, one penalty after another."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight

from featx.methods.probes.fitters.fitter import Fitter, Settings
from featx.methods.probes.fitters.pipelines import fit_to_last, last_inputs
from featx.methods.probes.fold_losses import Softmax, SquaredHinge
from featx.methods.probes.fold_rows import SharedRows, StackedRows, group_rows
from featx.methods.probes.newton_folds import FoldNewton
from featx.methods.probes.parts import MOST_COMPONENTS
from featx.methods.probes.temperature import margins_of
from featx.threads import limit_threads

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part

# `tol` of the solver for out-of-fold scores, and for the fitted model.
_SELECTION, _LAST = 3e-3, 1e-6
# Up to this number of rows, each fold gets coordinates of its own, as many as it has rows.
_FEW_ROWS = 400
# Most scores in memory at once; more folds than that are solved in turn.
_MOST_SCORES = 50_000_000
# Products of fewer multiplications take about a millisecond: too little to divide it among threads.
_SMALL = 100_000_000


class LinearFitter(Fitter):
    """Fit a pipeline that ends in a linear classifier, of which `C` and `class_weight` vary."""

    loss: type[Softmax] | type[SquaredHinge]
    #: Whether the penalty includes the intercept.
    penalised: bool

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        return self.fold_scores([part], estimator, candidates)[0]

    def fold_scores(
        self, parts: Sequence[Part], estimator: Any, candidates: Sequence[Settings], n_jobs: int = 1
    ) -> list[np.ndarray]:
        scores = len(parts[0].classes) * len(parts[0].source)
        at_once = max(1, _MOST_SCORES // scores)
        found = []
        with limit_threads(1 if scores * parts[0].dim * len(parts) < _SMALL else n_jobs):
            for i in range(0, len(parts), at_once):
                found += self._scores(parts[i : i + at_once], estimator, candidates)
        return found

    def _scores(self, parts, estimator, candidates) -> list[np.ndarray]:
        k = len(parts[0].classes)
        found = [np.empty((len(candidates), len(part.held_out), k), np.float32) for part in parts]
        for inputs, weight, members in _in_order(estimator, candidates):
            folds = _Folds(parts, inputs)
            solver = self._solver(folds, weight)
            for i, C in members:
                W, b, _, _ = solver.solve(C, tol=_SELECTION)
                for f, scores in enumerate(found):
                    scores[i] = margins_of(folds.predict(f, W[f], b[f]))
        return found

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        model, _ = fit_to_last(part, estimator, settings)
        folds = _Folds([part], model)
        last = model.steps[-1][1]
        solver = self._solver(folds, last.class_weight)
        W, b, n_iter, converged = solver.solve(last.C, tol=_LAST)
        if not converged:
            warnings.warn(f"not converged in {n_iter} steps", ConvergenceWarning, stacklevel=2)
        coef, intercept = folds.coefficients(W[0]), b[0]
        if len(coef) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        dtype = part.rows.dtype
        last.coef_, last.intercept_ = np.ascontiguousarray(coef, dtype), intercept.astype(dtype)
        last.classes_, last.n_features_in_ = part.classes, coef.shape[1]
        self._finish(last, n_iter)
        return model

    def _solver(self, folds: _Folds, class_weight: Any) -> FoldNewton:
        codes, weights = folds.targets(class_weight)
        loss = self.loss(codes, weights, len(folds.parts[0].classes))
        return folds.parts[0].products.newton(folds.rows, loss, penalised=self.penalised)

    def _finish(self, last: Any, n_iter: int) -> None:
        last.n_iter_ = np.array([n_iter], np.int32)


class LogisticFitter(LinearFitter):
    """Fit a pipeline that ends in `LogisticRegression`, of which `C` and `class_weight` vary."""

    loss, penalised = Softmax, False


class SvmFitter(LinearFitter):
    """Fit a pipeline that ends in `LinearSVC` with the squared hinge loss, of which `C` and weights vary.

    LinearSVC penalises the intercept, too.
    """

    loss, penalised = SquaredHinge, True

    def _finish(self, last: Any, n_iter: int) -> None:
        last.n_iter_ = n_iter


class _Folds:
    """Rows of several parts as the last step sees them, in the form that suits the solver."""

    def __init__(self, parts: Sequence[Part], estimator: Any):
        self.parts = parts
        self._maps: list[np.ndarray] | None = None
        self._order: np.ndarray | None = None
        self.rows: SharedRows | StackedRows
        if _shared(parts, estimator):
            self.rows, self._order = _shared_rows(parts)
            # Each fold's own training rows are never made.
            self._held = [part.held for part in parts]
            return
        inputs = [last_inputs(part, estimator) for part in parts]
        train, self._held = [rows for rows, _ in inputs], [held for _, held in inputs]
        if train[0].shape[1] > max(len(rows) for rows in train):
            made = [_own_coordinates(part, *rows) for part, rows in zip(parts, inputs, strict=True)]
            self._inputs = train
            train, self._held, self._maps = (list(each) for each in zip(*made, strict=True))
        n, p = max(map(len, train)), max(rows.shape[1] for rows in train)
        stack = np.zeros((len(parts), n, p), train[0].dtype)
        for padded, rows in zip(stack, train, strict=True):
            padded[: len(rows), : rows.shape[1]] = rows
        self.rows = StackedRows(stack)

    def targets(self, class_weight: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return codes and weights of the rows, (F, n); rows that do not belong to a fold have weight 0."""
        F, n, _ = self.rows.shape
        n = n if self._order is None else len(self.parts[0].source)
        codes, weights = np.zeros((F, n), np.int64), np.zeros((F, n))
        for f, part in enumerate(self.parts):
            at = slice(len(part.y)) if self._order is None else part.train
            codes[f, at] = part.codes
            # Scikit-learn checks its arguments for longer than a small fit takes.
            weights[f, at] = 1 if class_weight is None else compute_sample_weight(class_weight, part.y)
        return (codes, weights) if self._order is None else (codes[:, self._order], weights[:, self._order])

    def coefficients(self, W: np.ndarray) -> np.ndarray:
        """Return the coefficients of the first part for the inputs of the last step, (k, p)."""
        if self._maps is None:
            return W
        to_rows = self._maps[0]
        return (W[:, : to_rows.shape[1]].astype(to_rows.dtype) @ to_rows.T) @ self._inputs[0]

    def predict(self, f: int, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return scores of the held rows of a fold, (n_held, k)."""
        held = self._held[f]
        return held @ W[:, : held.shape[1]].T.astype(held.dtype) + b


def _in_order(estimator, candidates) -> Iterator[tuple[Any, Any, list[tuple[int, float]]]]:
    """Yield a model for each kind of inputs, its class weight, and its (position, C) from strong to weak."""
    name, last = estimator.steps[-1]
    groups: dict[str, tuple[Any, Any, list[tuple[int, float]]]] = {}
    for i, candidate in enumerate(candidates):
        rest = {key: value for key, value in candidate.items() if key != f"{name}__C"}
        if repr(rest) not in groups:
            model = clone(estimator).set_params(**rest)
            groups[repr(rest)] = (model, model.steps[-1][1].class_weight, [])
        groups[repr(rest)][2].append((i, candidate.get(f"{name}__C", last.C)))
    for model, weight, members in groups.values():
        yield model, weight, sorted(members, key=lambda member: member[1])


def _shared(parts: Sequence[Part], estimator: Any) -> bool:
    """Return whether the folds have the same rows but for shift and scale."""
    return len(estimator.steps) == 2 and len(parts[0].source) > _FEW_ROWS


def _shared_rows(parts: Sequence[Part]) -> tuple[SharedRows, np.ndarray]:
    """Return the rows, and their positions among those of the source."""
    whole = parts[0].source.whole
    n, d = whole.rows.shape
    members = np.zeros((len(parts), n), bool)
    for member, part in zip(members, parts, strict=True):
        member[part.train] = True
    order, blocks = group_rows(members, d, whole.rows.itemsize)
    X = whole.rows if members.all() else whole.rows[order]
    # Axes of a sample are as good for the preconditioner, and the folds on it have asked for them already.
    axes, _ = parts[0].source.sample.whole.axes(MOST_COMPONENTS)
    mean, scale = whole.scaler.mean_, whole.scaler.scale_
    shifts = np.stack([(part.scaler.mean_ - mean) / scale for part in parts])
    scales = np.stack([part.scaler.scale_ / scale for part in parts])
    return SharedRows(X, axes, shifts, scales, blocks), order


def _own_coordinates(
    part: Part, rows: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates of fewer rows (n, d) than features, and of the held rows (m, d).

    They are those along the r principal axes of the rows, the columns of rows^T M; the third array is M,
    (n, r).
    """
    if rows is part.rows:
        kernel = part.kernel
    else:
        wide = rows.astype(np.float64)
        kernel = part.products.multiply(wide, wide.T)
    values, U = part.products.eigh(kernel, len(kernel))
    kept = values > 1e-7 * values[-1]
    lengths, U = np.sqrt(values[kept]), U[:, kept]
    to_rows = (U / lengths).astype(rows.dtype)
    return (U * lengths).astype(rows.dtype), (held @ rows.T) @ to_rows, to_rows
