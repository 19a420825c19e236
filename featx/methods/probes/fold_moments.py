"""Means, variances and scatter of the rows outside each fold, from sums over the rows of each fold.

Each row is in one fold, so that sums over the training rows of a fold are those over all rows less those over
its own. With five folds that takes a quarter of the multiplications. Sums are over rows standardised by the
mean and deviation of all rows, so that little is lost in the differences; features that hardly vary outside a
fold are computed from the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from featx.methods.probes.products import ON_CPU, Products

# Variances below this share of those of all rows are not taken from differences.
_LEAST_VARIANCE = 1e-2
# Rows converted to double precision at a time.
_BLOCK = 1024


class FoldMoments:
    """Moments of the rows outside each fold, computed when first needed.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows as they were given.
    folds : sequence of ndarray
        Positions of the rows of each fold; every row is in one.
    products : Products, optional
    """

    def __init__(self, X: np.ndarray, folds: Sequence[np.ndarray], products: Products = ON_CPU):
        self._X, self._folds, self._products = X, folds, products
        self._lock = threading.RLock()
        self._sums: tuple[np.ndarray, np.ndarray] | None = None
        self._scatters: dict[int, np.ndarray] | None = None

    def mean_and_variance(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Return means (d,) and variances (d,) of the rows outside a fold, float64."""
        with self._lock:
            sums, squares = self._first()
        n = len(self._X) - len(self._folds[fold])
        mean = (sums.sum(axis=0) - sums[fold]) / n
        variance = (squares.sum(axis=0) - squares[fold]) / n - mean**2
        mean, variance = self._mean + self._scale * mean, self._scale**2 * variance
        near = self._near_constant(fold)
        if len(near):
            mean[near], variance[near] = mean_and_variance(self._outside(fold, near))
        return mean, variance

    def scatter(self, fold: int, rows: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return X^T X (d, d) of the rows (n, d) outside a fold, standardised by `mean` and `scale`."""
        with self._lock:
            if self._scatters is None:
                each = [self._products.scatter(self._standardised(held)) for held in self._folds]
                self._total, self._scatters = np.sum(each, axis=0), dict(enumerate(each))
            # A part keeps what it gets, so that nobody asks twice.
            own = self._scatters.pop(fold, None)
        if own is None:
            own = self._products.scatter(self._standardised(self._folds[fold]))
        shift = (mean - self._mean) / self._scale
        found = np.subtract(self._total, own, out=own)
        found -= np.outer(len(rows) * shift, shift)
        factor = self._scale / scale
        found *= factor[:, None]
        found *= factor
        near = self._near_constant(fold)
        if len(near):
            found[near] = rows[:, near].T @ rows
            found[:, near] = found[near].T
        return found

    def _first(self) -> tuple[np.ndarray, np.ndarray]:
        if self._sums is None:
            self._mean, self._variance = mean_and_variance(self._X)
            self._scale = np.sqrt(np.where(self._variance > 0, self._variance, 1))
            shape = (len(self._folds), self._X.shape[1])
            sums, squares = np.zeros(shape), np.zeros(shape)
            for i, held in enumerate(self._folds):
                for at in range(0, len(held), _BLOCK):
                    block = (self._X[held[at : at + _BLOCK]] - self._mean) / self._scale
                    sums[i] += block.sum(axis=0)
                    squares[i] += np.einsum("ij,ij->j", block, block)
            self._sums = sums, squares
        return self._sums

    def _near_constant(self, fold: int) -> np.ndarray:
        """Return the features that hardly vary outside a fold, relative to all rows."""
        sums, squares = self._first()
        n = len(self._X) - len(self._folds[fold])
        mean = (sums.sum(axis=0) - sums[fold]) / n
        variance = (squares.sum(axis=0) - squares[fold]) / n - mean**2
        return np.flatnonzero(variance < _LEAST_VARIANCE)

    def _outside(self, fold: int, features: np.ndarray) -> np.ndarray:
        return np.delete(self._X[:, features], self._folds[fold], axis=0)

    def _standardised(self, held: np.ndarray) -> np.ndarray:
        self._first()
        rows = self._X[held]
        rows -= self._mean.astype(rows.dtype)
        rows /= self._scale.astype(rows.dtype)
        return rows


def mean_and_variance(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means (d,) and variances (d,) of rows (n, d), computed in float64 as StandardScaler does."""
    n, d = X.shape
    mean, square, rest = np.zeros(d), np.zeros(d), np.zeros(d)
    for at in range(0, n, _BLOCK):
        mean += X[at : at + _BLOCK].sum(axis=0, dtype=np.float64)
    mean /= n
    for at in range(0, n, _BLOCK):
        block = X[at : at + _BLOCK] - mean
        rest += block.sum(axis=0)
        square += np.einsum("ij,ij->j", block, block)
    # The second term corrects rounding errors of the mean (Chan, Golub and LeVeque 1983, eq. 1.7).
    return mean, (square - rest**2 / n) / n
