"""Losses of linear classifiers on several folds at once: softmax, and squared hinge of each class.

Scores are (F, k, n): F folds, k columns, n rows. Rows that a fold holds out have weight 0.
"""

from __future__ import annotations

import numpy as np

from featx.methods.probes.softmax import loss_and_error


class Softmax:
    """Multinomial logistic loss of k classes; two classes are two columns -w/2 and w/2.

    Parameters
    ----------
    codes : ndarray of shape (F, n), int
    weights : ndarray of shape (F, n)
    n_classes : int

    Attributes
    ----------
    columns : int
    penalty : float
        Factor of the penalty: 2 for two classes, since ||(-w/2, w/2)||^2 = ||w||^2 / 2.
    """

    def __init__(self, codes: np.ndarray, weights: np.ndarray, n_classes: int):
        self.columns, self.penalty = n_classes, 2.0 if n_classes == 2 else 1.0
        self._codes, self._weights = codes, weights
        self._rows, self._totals = np.arange(codes.shape[1]), weights.sum(axis=1)

    def errors(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of losses, (F,), and their gradient by the scores `z` (F, k, n), overwritten."""
        losses = np.empty(len(z))
        self._p = np.empty_like(z)
        self._s = self._weights.astype(z.dtype)
        for f, (codes, s) in enumerate(zip(self._codes, self._s, strict=True)):
            loss, error = loss_and_error(z[f], codes)
            losses[f] = np.dot(loss.astype(np.float64), self._weights[f])
            self._p[f] = error
            self._p[f, codes, self._rows] += 1
            np.multiply(error, s, out=z[f])
        return losses, z

    def hessian(self, u: np.ndarray) -> np.ndarray:
        """Return the derivative of the gradient in the direction of the scores `u`, which it overwrites."""
        for f, (p, s) in enumerate(zip(self._p, self._s, strict=True)):
            v = u[f]
            v -= np.einsum("ij,ij->j", p, v)
            v *= p
            v *= s
        return u

    def curvature(self) -> np.ndarray:
        """Return the sum of the curvatures of the rows for each class, (F, k)."""
        p, s = self._p, self._s
        found = np.einsum("fkn,fn->fk", p, s) - np.einsum("fkn,fkn,fn->fk", p, p, s)
        return np.maximum(found.astype(np.float64), 1e-12 * self._totals[:, None])

    @staticmethod
    def centre(b: np.ndarray) -> np.ndarray:
        """Take the mean from intercepts (F, k): no probability depends on it."""
        return b - b.mean(axis=1, keepdims=True)


class SquaredHinge:
    """Squared hinge loss of each class against the rest; two classes are one column.

    Parameters
    ----------
    codes, weights, n_classes
        As in `Softmax`. Weights of 0 leave rows out. As in LinearSVC (liblinear), with three classes or
        more other weights count only in the problem of the row's own class, and are 1 in the others.
    """

    def __init__(self, codes: np.ndarray, weights: np.ndarray, n_classes: int):
        self.columns, self.penalty = (1 if n_classes == 2 else n_classes), 1.0
        positive = np.arange(n_classes)[None, :, None] == codes[:, None]
        positive = positive[:, 1:] if n_classes == 2 else positive
        self._signs = np.where(positive, 1, -1).astype(np.int8)
        self._weights = weights[:, None]
        if n_classes > 2:
            self._weights = np.where(positive, self._weights, self._weights > 0)
        self._totals = self._weights.sum(axis=2)

    def errors(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Softmax.errors`."""
        s = self._weights.astype(z.dtype)
        z *= self._signs
        np.subtract(1, z, out=z)
        np.maximum(z, 0, out=z)
        self._twice = 2 * s * (z > 0)
        losses = (np.square(z) * s).sum(axis=(1, 2), dtype=np.float64)
        z *= self._twice
        z *= -self._signs
        return losses, z

    def hessian(self, u: np.ndarray) -> np.ndarray:
        """As `Softmax.hessian`."""
        u *= self._twice
        return u

    def curvature(self) -> np.ndarray:
        """As `Softmax.curvature`."""
        return np.maximum(self._twice.sum(axis=2, dtype=np.float64), 1e-12 * self._totals)

    @staticmethod
    def centre(b: np.ndarray) -> np.ndarray:
        """Return the intercepts as they are."""
        return b
