"""Fit logistic regression to its optimum, for one penalty or for many."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from featx.errors import InputError
from featx.methods.probes.newton import NewtonPath


class LogisticProbe(LinearClassifierMixin, BaseEstimator):
    """Logistic regression with an L2 penalty, solved to the optimum (multinomial; binomial for two classes).

    The objective is that of scikit-learn's `LogisticRegression`, the sum of weighted losses plus
    ``||coef||^2 / (2 C)`` with an intercept that is not penalised. It is solved by Newton's method with
    conjugate gradients (`featx.methods.probes.newton`).

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty.
    class_weight : dict or "balanced", default=None
        As in scikit-learn.
    fit_intercept : bool, default=True
    tol : float, default=1e-12
        Stop when the quadratic model predicts a further decrease of at most this share of the objective.
        1e-7 saves time on large sets, and is enough where rounding errors end the descent.
    max_iter : int, default=200
        Maximum number of Newton steps.
    warm_start : bool, default=False
        Start from `coef_` and `intercept_` of the last fit.
    device : str, default="cpu"
        "cpu" computes by NumPy, another device by torch; "auto" uses a GPU for large sets, if torch is
        imported and sees one.

    Attributes
    ----------
    coef_ : ndarray of shape (1 or n_classes, n_features)
    intercept_ : ndarray of shape (1 or n_classes,)
    classes_ : ndarray of shape (n_classes,)
    n_iter_ : ndarray of shape (1,), int
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> float(LogisticProbe(C=10).fit(X, y).score(X, y))
    0.98
    """

    def __init__(
        self,
        C=1.0,
        *,
        class_weight=None,
        fit_intercept=True,
        tol=1e-12,
        max_iter=200,
        warm_start=False,
        device="cpu",
    ):
        self.C = C
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.device = device

    def fit(self, X, y, sample_weight=None):
        """Fit to rows (n, d), labels (n,) and, if given, weights (n,)."""
        for name, value in (("C", self.C), ("tol", self.tol), ("max_iter", self.max_iter)):
            if not value > 0:
                raise InputError(f"{name} must be above 0, got {value!r}")
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise InputError(f"logistic regression needs 2 classes or more, got 1 class ({self.classes_[0]})")
        # In float64 for float32 rows, too: weights may be large or small.
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        weights = _with_classes(weights, self.class_weight, y)
        path = NewtonPath(X, y, sample_weight=weights, fit_intercept=self.fit_intercept, device=self.device)
        if self.warm_start and hasattr(self, "coef_"):
            expected = (1 if len(path.classes) == 2 else len(path.classes), X.shape[1])
            if np.shape(self.coef_) != expected:
                raise InputError(f"warm_start: coef_ has shape {np.shape(self.coef_)}, expected {expected}")
            path.start_from(np.asarray(self.coef_, np.float64), np.asarray(self.intercept_, np.float64))
        coef, intercept, n_iter, converged = path.solve(self.C, tol=self.tol, max_iter=self.max_iter)
        if not converged:
            warnings.warn(
                f"not converged to tol={self.tol} in {n_iter} Newton steps; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self._take(coef, intercept, n_iter, X.dtype)

    def predict_log_proba(self, X):
        """Predict logarithms of probabilities, ndarray of shape (n, n_classes)."""
        check_is_fitted(self)
        scores = self.decision_function(X)
        scores = np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores
        return log_softmax(scores, axis=1)

    def predict_proba(self, X):
        """Predict probabilities, ndarray of shape (n, n_classes)."""
        check_is_fitted(self)
        if len(self.classes_) == 2:
            one = expit(self.decision_function(X))
            return np.stack([1 - one, one], axis=1)
        return softmax(self.decision_function(X), axis=1)

    def _take(self, coef, intercept, n_iter, dtype) -> LogisticProbe:
        self.coef_, self.intercept_ = coef.astype(dtype), intercept.astype(dtype)
        self.n_iter_ = np.array([n_iter], np.int32)
        return self


def fit_path(
    X, y, Cs: Sequence[float], *, sample_weight=None, class_weight=None, tol: float = 1e-7, device="cpu"
) -> list[LogisticProbe]:
    """Fit a `LogisticProbe` for each of many penalties, each starting from the solutions of others.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
    y : ndarray of shape (n,)
    Cs : sequence of float
        In any order.
    sample_weight, class_weight, tol, device
        As in `LogisticProbe`.

    Returns
    -------
    list of LogisticProbe
        In the order of `Cs`.
    """
    weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    weights = _with_classes(weights, class_weight, y)
    path = NewtonPath(X, y, sample_weight=weights, device=device)
    found = {C: rest for C, *rest in path.solve_path(Cs, tol=tol)}
    fitted = []
    for C in Cs:
        coef, intercept, n_iter, converged = found[float(C)]
        if not converged:
            warnings.warn(f"not converged for C={C:.3g}", ConvergenceWarning, stacklevel=2)
        probe = LogisticProbe(C=float(C), class_weight=class_weight, tol=tol, device=device)
        probe.classes_, probe.n_features_in_ = path.classes, X.shape[1]
        fitted.append(probe._take(coef, intercept, n_iter, X.dtype))
    return fitted


def _with_classes(weights: np.ndarray, class_weight, y: np.ndarray) -> np.ndarray:
    """Multiply the weights of rows by those of their classes, as scikit-learn does."""
    if class_weight is None:
        return weights
    classes, codes = np.unique(y, return_inverse=True)
    return weights * compute_class_weight(class_weight, classes=classes, y=y, sample_weight=weights)[codes]
