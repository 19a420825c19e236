"""Fit least squares in closed form, as the evaluator ``fewshot_lsr.py`` of big_vision does."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve
from sklearn.base import BaseEstimator
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from featx.errors import InputError

#: The constant feature whose weight is the intercept; it is large, so that the intercept is hardly penalised.
_BIAS = 100.0
# Added to the deviation of each feature.
_LEAST_DEVIATION = 1e-5


class LeastSquaresProbe(LinearClassifierMixin, BaseEstimator):
    """Ridge regression on targets of -1 and 1, one for each class.

    With rows that are standardised by the mean m and the deviation s + 1e-5 of the training rows, and a
    constant feature of 100 added, X (n, p + 1), and targets Y (n, k)::

        W = (X^T X + a I)^-1 X^T Y = X^T (X X^T + a I)^-1 Y

    of which the smaller system is solved.

    Parameters
    ----------
    alpha : float, default=1024.0
        The penalty a, in units of the sum of squares over rows.

    Attributes
    ----------
    coef_, intercept_, classes_
        As in scikit-learn's linear classifiers, for rows that are not standardised.
    """

    def __init__(self, alpha=1024.0):
        self.alpha = alpha

    def fit(self, X, y):
        """Fit to rows (n, d) and labels (n,)."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_classification_targets(y)
        if not self.alpha > 0:
            raise InputError(f"alpha must be above 0, got {self.alpha!r}")
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"least squares need 2 classes or more, got 1 class ({self.classes_[0]})")
        Y = 2 * np.eye(len(self.classes_))[codes] - 1
        X = X.astype(np.float64)
        mean, deviation = X.mean(axis=0), X.std(axis=0) + _LEAST_DEVIATION
        X = np.hstack([(X - mean) / deviation, np.full((len(X), 1), _BIAS)])
        n, p = X.shape
        if n >= p:
            W = solve(X.T @ X + self.alpha * np.eye(p), X.T @ Y, assume_a="pos")
        else:
            W = X.T @ solve(X @ X.T + self.alpha * np.eye(n), Y, assume_a="pos")
        coef = np.ascontiguousarray((W[:-1] / deviation[:, None]).T)
        intercept = _BIAS * W[-1] - coef @ mean
        if len(self.classes_) == 2:  # the two columns differ in sign only
            coef, intercept = coef[1:], intercept[1:]
        self.coef_, self.intercept_ = coef, intercept
        return self
