"""Rows of several folds, and products with them.

`StackedRows` holds the rows of each fold, in its own coordinates. `SharedRows` holds all rows once: the rows
of a fold, standardised by its own means and deviations, differ from them by a shift and a scale of each
feature, which are applied to the coefficients instead.

All but `gradient` compute with tensors in the place of arrays, too (`featx.methods.probes.device_folds`).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class FoldRows(Protocol):
    """Rows of several folds: F folds, n rows each, p coordinates."""

    shape: tuple[int, int, int]
    dtype: np.dtype

    def scores(self, W: np.ndarray, b: np.ndarray) -> Any:
        """Return W x + b, (F, k, n), for coefficients (F, k, p) and intercepts (F, k) of the rows' dtype."""

    def gradient(self, E: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return sum_i e_i x_i, (F, k, p), and sum_i e_i, (F, k) float64, for E (F, k, n)."""

    def divide(self, G: np.ndarray, curvature: np.ndarray, penalty: float) -> np.ndarray:
        """Apply the inverse of the Hessian of rows with equal curvature to G (F, k, p).

        `curvature` (F, k) is the sum over all rows of a fold.
        """


class StackedRows:
    """Rows (F, n, p) whose products with each other are small between coordinates.

    Rows of zeros fill up folds that are shorter.
    """

    def __init__(self, X: np.ndarray):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        lengths = np.maximum((X != 0).any(axis=2).sum(axis=1), 1)
        self._squares = (np.einsum("fnp,fnp->fp", X, X) / lengths[:, None].astype(X.dtype))[:, None]

    def scores(self, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        """See `FoldRows`."""
        z = W @ self.X.swapaxes(1, 2)
        z += b[..., None]
        return z

    def gradient(self, E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`."""
        return self.by_coefficients(E), E.sum(axis=2, dtype=np.float64)

    def by_coefficients(self, E: np.ndarray) -> np.ndarray:
        """Return the first part of `gradient`."""
        return E @ self.X

    def divide(self, G: np.ndarray, curvature: np.ndarray, penalty: float) -> np.ndarray:
        """See `FoldRows`."""
        return G / (curvature[..., None] * self._squares + self.dtype.type(penalty))


class SharedRows:
    """Standardised rows (n, p), of which each fold has a shift and a scale.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    axes : ndarray of shape (r, p)
        Principal axes.
    variances : ndarray of shape (r,)
        Mean squares along them.
    shifts, scales : ndarray of shape (F, p)
        The rows of a fold are (x - shift) / scale.
    """

    def __init__(self, X, axes, variances, shifts, scales):
        self.X, self.dtype, self.shape = X, X.dtype, (len(shifts), *X.shape)
        self._axes, self._squares = axes, variances.astype(X.dtype)
        self._shifts, self._scales = shifts.astype(X.dtype), scales.astype(X.dtype)

    def scores(self, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        """See `FoldRows`."""
        F, k, p = W.shape
        W = W / self._scales[:, None]
        z = (W.reshape(F * k, p) @ self.X.T).reshape(F, k, -1)
        z += b[..., None] - W @ self._shifts[..., None]
        return z

    def gradient(self, E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`."""
        return self.by_coefficients(E), E.sum(axis=2, dtype=np.float64)

    def by_coefficients(self, E: np.ndarray) -> np.ndarray:
        """Return the first part of `gradient`."""
        F, k, n = E.shape
        G = (E.reshape(F * k, n) @ self.X).reshape(F, k, -1)
        G -= E.sum(2)[..., None] * self._shifts[:, None]
        G /= self._scales[:, None]
        return G

    def divide(self, G: np.ndarray, curvature: np.ndarray, penalty: float) -> np.ndarray:
        """See `FoldRows`."""
        F, k, p = G.shape
        alone = self.dtype.type(penalty)
        along = (G.reshape(F * k, p) @ self._axes.T).reshape(F, k, -1)
        # Outside the span of the axes there is the penalty only.
        along *= 1 / (curvature[..., None] * self._squares + alone) - 1 / alone
        return (along.reshape(F * k, -1) @ self._axes).reshape(F, k, p) + G / alone
