"""Solve ridge regression in closed form for any number of penalties, and cross-validate each exactly.

With centred rows and targets (the intercept is not penalised) and the thin SVD Xc = U diag(d) V^T, computed
from the smaller of the two Gram matrices, the solution for a penalty a is::

    w(a) = V diag(d / (d^2 + a)) U^T Yc,        H(a) = 11^T / n + U diag(d^2 / (d^2 + a)) U^T

H turns targets into fitted values. If a set of rows F is left out and the rest fitted again, the residuals of
F are (I - H_FF)^-1 e_F, where e are the residuals of the fit to all rows; for a single row e_i / (1 - h_ii)
(Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2009, eq. 7.64; for sets, Cook and
Weisberg, "Residuals and Influence in Regression", 1982). So one fit is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from featx.errors import InputError


class RidgePath:
    """Solve ridge regressions on one training set: rows `X` (n, p), targets `Y` (n, k)."""

    def __init__(self, X: np.ndarray, Y: np.ndarray):
        X, self._Y = np.asarray(X, np.float64), np.asarray(Y, np.float64)
        self._mean, self._Y_mean = X.mean(axis=0), self._Y.mean(axis=0)
        Xc = X - self._mean
        n, p = X.shape
        squares, vectors = eigh(Xc @ Xc.T if n <= p else Xc.T @ Xc)
        keep = squares > squares[-1] * max(n, p) * np.finfo(np.float64).eps
        self._squares, vectors = squares[keep], vectors[:, keep]
        d = np.sqrt(self._squares)
        self._U = vectors if n <= p else Xc @ (vectors / d)
        self._V = Xc.T @ (vectors / d) if n <= p else vectors
        self._UY = self._U.T @ (self._Y - self._Y_mean)

    def coefficients(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (k, p) and intercepts (k,) for one penalty."""
        d = np.sqrt(self._squares)
        coef = (self._V @ ((d / (self._squares + alpha))[:, None] * self._UY)).T
        return coef, self._Y_mean - coef @ self._mean

    def leave_one_out(self, alpha: float) -> np.ndarray:
        """Predict each row from the fit to all others, ndarray of shape (n, k)."""
        shrink = self._squares / (self._squares + alpha)
        rest = 1 - 1 / len(self._Y) - (self._U**2) @ shrink
        # It is 0 where the row alone determines a direction that is not penalised.
        rest = np.maximum(rest, 1e-10)
        return self._Y - self._residuals(shrink) / rest[:, None]

    def leave_fold_out(self, alpha: float, folds: Sequence[np.ndarray]) -> np.ndarray:
        """Predict each row of `folds` from the fit without its fold, (n, k); other rows are NaN."""
        shrink = self._squares / (self._squares + alpha)
        residuals = self._residuals(shrink)
        found = np.full(self._Y.shape, np.nan)
        for held in folds:
            U = self._U[held]
            rest = np.eye(len(held)) - 1 / len(self._Y) - (U * shrink) @ U.T
            found[held] = self._Y[held] - np.linalg.solve(rest, residuals[held])
        return found

    def _residuals(self, shrink: np.ndarray) -> np.ndarray:
        return self._Y - self._Y_mean - self._U @ (shrink[:, None] * self._UY)


class LeastSquaresProbe(LinearClassifierMixin, BaseEstimator):
    """Ridge regression on targets of -1 and 1, one for each class, with a penalty chosen by leave-one-out.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, by leave-one-out accuracy; ties go to the lowest squared error.

    Attributes
    ----------
    alpha_, loo_score_ : float
        The chosen penalty and its leave-one-out accuracy.
    coef_, intercept_, classes_
        As in scikit-learn's linear classifiers.
    """

    def __init__(self, alphas=(0.01, 0.1, 1.0, 10.0, 100.0)):
        self.alphas = alphas

    def fit(self, X, y):
        """Fit to rows (n, d) and labels (n,)."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"least squares need 2 classes or more, got 1 class ({self.classes_[0]})")
        Y = 2 * np.eye(len(self.classes_))[codes] - 1
        path = RidgePath(X, Y)
        scores = []
        for alpha in self.alphas:
            left_out = path.leave_one_out(alpha)
            right = float((left_out.argmax(axis=1) == codes).mean())
            scores.append((right, -float(((left_out - Y) ** 2).mean()), alpha))
        self.loo_score_, _, self.alpha_ = max(scores)
        coef, intercept = path.coefficients(self.alpha_)
        if len(self.classes_) == 2:
            coef, intercept = coef[1:], intercept[1:]
        self.coef_, self.intercept_ = coef.astype(X.dtype), intercept.astype(X.dtype)
        return self
