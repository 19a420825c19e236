"""Fit support vector machines with an RBF kernel.

Exact machines of a part differ in class, C and gamma only. The squared distances of its rows are one matrix
product, and the kernel of each gamma is computed once; libsvm then looks it up, where it would otherwise
compute rows of it for every class and C.

Beyond a few thousand rows a kernel matrix is too large. Nystroem's approximation (Williams and Seeger, "Using
the Nystroem method to speed up kernel machines", NIPS 2001) replaces k(x, z) by the product of features

    phi(x) = M^(-1/2) [k(x, l_1), ..., k(x, l_m)]^T,    M_ij = k(l_i, l_j)

of m landmarks l, which are drawn from the rows, and a linear machine is fitted to the features.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.utils import check_random_state

from featx.methods.probes.fitters.fitter import Fitter, Settings, limit_components
from featx.methods.probes.fitters.pipelines import fit_to_last, last_inputs
from featx.methods.probes.products import Products
from featx.methods.probes.squared_hinges import Solution, sign_classes, solve_hinges
from featx.methods.probes.temperature import margins_of

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part

# Relative accuracy of the objective: to choose settings, and for the last fit. On a fold of CIFAR-10 the
# first changes log losses of held-out rows by 0.25 % at most, and 1e-3 by up to 1.5 %.
_SELECT, _LAST = 3e-4, 1e-6
# `tol` of libsvm to choose settings, in units of the margin. Its default is 1e-3; with 1e-2 choices among
# settings that are nearly equal are often others.
_SELECT_EXACT = 3e-3
# Fewest landmarks: with fewer rows they are all rows, or nearly.
_FEWEST = 500
# Eigenvalues of the kernel of the landmarks below this share of the largest one are rounding errors.
_RANK = 1e-6
# Rows whose kernel with the landmarks is computed at once.
_BLOCK = 4096


def count_landmarks(n_train: int) -> int:
    """Return the number of landmarks: 2 sqrt(n) log(n), from 500 to 2,000, and no more than rows.

    About sqrt(n) log(n) landmarks keep the error of kernel ridge regression (Rudi, Camoriano and Rosasco,
    "Less is more: Nystroem computational regularization", NIPS 2015, theorem 1). The constant is not known,
    and time grows with their square.
    """
    return int(min(n_train, 2000, max(_FEWEST, 2 * n_train**0.5 * np.log(n_train))))


class KernelFitter(Fitter):
    """Fit a machine with an RBF kernel, exact or of a Nystroem map, as the pipeline says."""

    rules = (
        f"tol {_SELECT_EXACT:g}",
        f"of a map {_SELECT:g} and {_LAST:g}",
        f"{_FEWEST:,} landmarks or more",
    )

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        return _of(estimator).scores(part, estimator, candidates)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        return _of(estimator).fit(part, estimator, settings)


class ExactFitter(Fitter):
    """Fit pipelines that end in one SVC against the rest for each class, or in an SVR.

    C, gamma, class weights and the length of the rows may vary.
    """

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        found: list[np.ndarray] = [np.empty(0)] * len(candidates)
        models = _with_settings(part, estimator, candidates)
        for _, same_length in _grouped(range(len(models)), lambda i: _length(models[i])):
            rows, held = last_inputs(part, models[same_length[0]])
            rows, held = rows.astype(np.float64), held.astype(np.float64)
            near, far = (_distances(part.products, x, rows) for x in (rows, held))
            kernel, held_kernel = np.empty_like(near), np.empty_like(far)
            for gamma, same in _grouped(same_length, lambda i: _machine(models[i]).gamma):
                _rbf(near, gamma, kernel)
                _rbf(far, gamma, held_kernel)
                for i in same:
                    _machine(models[i]).set_params(tol=_SELECT_EXACT)
                    last = _fit_to_kernel(models[i].steps[-1][1], kernel, part.y)
                    if part.task == "numbers":
                        found[i] = last.predict(held_kernel)
                    else:
                        found[i] = margins_of(_decide(last, held_kernel))
        return np.stack(found) if part.task == "numbers" else np.stack(found).astype(np.float32)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        model, rows = fit_to_last(part, estimator, settings)
        rows = rows.astype(np.float64)
        kernel, gamma = _distances(part.products, rows, rows), _machine(model).gamma
        _rbf(kernel, gamma, kernel)
        last = _fit_to_kernel(model.steps[-1][1], kernel, part.y)
        for machine in getattr(last, "estimators_", None) or [last.regressor_]:
            # What libsvm would have kept if it had been given the rows.
            machine.set_params(kernel="rbf")
            machine.support_vectors_ = rows[machine.support_]
            machine._gamma, machine.shape_fit_, machine.n_features_in_ = gamma, rows.shape, rows.shape[1]
        _machine(model).set_params(kernel="rbf")
        if hasattr(last, "estimators_"):
            last.n_features_in_ = rows.shape[1]
        return model


class NystroemFitter(Fitter):
    """Fit pipelines of `Nystroem` and `LinearSVC`.

    C, gamma, class weights and the length of the rows may vary. A part has no more landmarks than its number
    of rows asks for (`count_landmarks`). The features of a gamma are computed once, and its machines are
    solved together (`squared_hinges`).
    """

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        models = _with_settings(part, estimator, candidates)
        found = np.empty((len(models), len(part.held_out), len(part.classes)), np.float32)
        for _, same_length in _grouped(range(len(models)), lambda i: _length(models[i])):
            # Without the linear machine the Nystroem map is the last step.
            rows, held = last_inputs(part, models[same_length[0]][:-1])
            for _, same in _grouped(same_length, lambda i: _nystroem(models[i]).gamma):
                landmarks = _Landmarks(_nystroem(models[same[0]]), rows, part.products)
                solution = _solve(landmarks, rows, part, [models[i][-1] for i in same], _SELECT)
                dual = landmarks.coordinates() @ solution.coef.T
                scores = part.products.multiply(landmarks.inputs(held), dual)
                scores = scores.reshape(len(held), len(same), -1)
                for j, i in enumerate(same):
                    found[i] = margins_of(scores[:, j])
        return found

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        model = clone(estimator).set_params(**settings)
        front, rows = fit_to_last(part, model[:-1], {})
        nystroem, svm = front.steps[-1][1], model.steps[-1][1]
        model.steps[:-1] = front.steps
        landmarks = _Landmarks(nystroem, rows, part.products)
        solution = _solve(landmarks, rows, part, [svm], _LAST)
        if not solution.converged:
            warnings.warn(f"not converged in {solution.n_iter} steps", ConvergenceWarning, stacklevel=2)
        landmarks.finish(nystroem)
        svm.coef_ = (solution.coef[:, :-1] @ landmarks.basis.T).astype(rows.dtype)
        svm.intercept_, svm.classes_ = solution.coef[:, -1].copy(), part.classes
        svm.n_iter_, svm.n_features_in_ = solution.n_iter, len(landmarks.rows)
        return model


class _Landmarks:
    """The landmarks of a Nystroem map, drawn as scikit-learn draws them.

    Features are computed along the eigenvectors of the landmarks' kernel, which rotates those of
    scikit-learn: as the landmarks are a sample of the rows, the features are then hardly correlated, and
    the solver needs few steps.
    """

    def __init__(self, nystroem: Nystroem, rows: np.ndarray, products: Products):
        drawn = check_random_state(nystroem.random_state).permutation(len(rows))
        self.drawn = drawn[: min(nystroem.n_components, count_landmarks(len(rows)))]
        self.rows, self.gamma, self._products = rows[self.drawn], nystroem.gamma, products
        kernel = self._kernel(self.rows)
        values, vectors = products.eigh(kernel, len(kernel))
        kept = values > _RANK * values[-1]
        self.values, self.basis = values[kept], vectors[:, kept]

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """Return the kernel of rows with the landmarks, and ones, (n, m + 1)."""
        found = np.ones((len(rows), len(self.rows) + 1), rows.dtype)
        for at in range(0, len(rows), _BLOCK):
            found[at : at + _BLOCK, :-1] = self._kernel(rows[at : at + _BLOCK])
        return found

    def coordinates(self) -> np.ndarray:
        """Return the matrix (m + 1, p + 1) by which inputs are features, and ones."""
        m, p = self.basis.shape
        found = np.zeros((m + 1, p + 1), self.rows.dtype)
        found[:m, :p], found[m, p] = self.basis / np.sqrt(self.values), 1
        return found

    def _kernel(self, rows: np.ndarray) -> np.ndarray:
        """Return the kernel of rows with the landmarks, (n, m)."""
        found = _distances(self._products, rows, self.rows)
        _rbf(found, self.gamma, found)
        return found

    def finish(self, nystroem: Nystroem) -> None:
        """Set the fitted attributes of scikit-learn's map."""
        whiten = (self.basis / np.sqrt(self.values)) @ self.basis.T
        nystroem.normalization_ = whiten.astype(self.rows.dtype)
        nystroem.components_, nystroem.component_indices_ = self.rows, self.drawn
        nystroem._n_features_out, nystroem.n_features_in_ = len(self.rows), self.rows.shape[1]


def _solve(
    landmarks: _Landmarks, rows: np.ndarray, part: Part, machines: Sequence[LinearSVC], tol: float
) -> Solution:
    """Solve `LinearSVC`s of the same features, one after another in the rows of the solution."""
    k, dtype = len(part.classes), rows.dtype
    signed = np.concatenate([sign_classes(part.codes, k, svm.class_weight, dtype) for svm in machines])
    C = np.repeat([svm.C for svm in machines], len(signed) // len(machines))
    inputs, basis = landmarks.inputs(rows), landmarks.coordinates()
    return solve_hinges(inputs, basis, signed, C, tol=tol, products=part.products)


def _of(estimator: Pipeline) -> Fitter:
    approximate = any(isinstance(step, Nystroem) for _, step in estimator.steps)
    return NystroemFitter() if approximate else ExactFitter()


def _with_settings(part: Part, estimator: Any, candidates: Sequence[Settings]) -> list[Pipeline]:
    limited = limit_components(estimator, part.fewest)
    return [clone(limited).set_params(**candidate) for candidate in candidates]


def _nystroem(model: Pipeline) -> Nystroem:
    return model.steps[-2][1]


def _machine(model: Pipeline) -> SVC | SVR:
    last = model.steps[-1][1]
    return last.estimator if hasattr(last, "estimator") else last.regressor


def _length(model: Pipeline) -> float | None:
    step = dict(model.steps).get("rows")
    return None if step is None else step.length


def _grouped(positions, key) -> Iterator[tuple[Any, list[int]]]:
    """Yield groups of positions of equal keys."""
    ordered = sorted(positions, key=lambda i: str(key(i)))
    return ((value, list(same)) for value, same in groupby(ordered, key))


def _fit_to_kernel(last: Any, kernel: np.ndarray, y: np.ndarray) -> Any:
    (last.estimator if hasattr(last, "estimator") else last.regressor).set_params(kernel="precomputed")
    # Each machine would look through the kernel for values that are not finite.
    with config_context(assume_finite=True):
        return last.fit(kernel, y)


def _decide(last: Any, kernel: np.ndarray) -> np.ndarray:
    """Return the decision values (n, n_classes) of machines with one kernel, or (n, 1) for two classes."""
    dual = np.zeros((kernel.shape[1], len(last.estimators_)))
    for j, machine in enumerate(last.estimators_):
        dual[machine.support_, j] = machine.dual_coef_[0]
    return kernel @ dual + np.concatenate([machine.intercept_ for machine in last.estimators_])


def _distances(products: Products, A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return squared distances (len(A), len(B))."""
    found = products.multiply(A, B.T)
    found *= -2
    found += np.einsum("ij,ij->i", A, A)[:, None]
    found += np.einsum("ij,ij->i", B, B)
    np.maximum(found, 0, out=found)
    if A is B:
        np.fill_diagonal(found, 0)
    return found


def _rbf(distances: np.ndarray, gamma: float, out: np.ndarray) -> None:
    np.multiply(distances, -gamma, out=out)
    np.exp(out, out=out)
