"""Losses of linear classifiers on several folds at once: softmax, and squared hinge of each class.

They are given scores (k, f, m) of a block of rows (`fold_rows.Block`): k columns, f of the folds, m rows.
Rows that do not belong to a fold have weight 0. Threads may ask for different blocks at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.methods.probes.fold_rows import Block
from featx.methods.probes.softmax import loss_and_error


class FoldLoss:
    """Losses of the rows of all folds.

    Parameters
    ----------
    codes : ndarray of shape (F, n), int
    weights : ndarray of shape (F, n)
    n_classes : int

    Attributes
    ----------
    columns : int
    penalty : float
        Factor of the penalty.
    totals : ndarray of shape (F,)
        The sums of the weights.
    """

    columns: int
    penalty: float

    def __init__(self, codes: np.ndarray, weights: np.ndarray, n_classes: int):
        self._codes, self._weights, self._n_classes = codes, weights, n_classes
        self.totals = weights.sum(axis=1)
        # Of each block: its folds, and what the Hessian at the last scores needs.
        self._kept: dict[int, tuple[np.ndarray, Any]] = {}

    def errors(self, z: Any, block: Block, folds: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return the sums of losses, (f,), and their gradient by the scores `z` (k, f, m), overwritten."""
        raise NotImplementedError

    def hessian(self, u: Any, block: Block, folds: np.ndarray) -> Any:
        """Return the derivative of the gradient in the direction of the scores `u`, which it overwrites."""
        raise NotImplementedError

    def curvature(self, block: Block) -> tuple[np.ndarray, Any]:
        """Return the folds of the last scores of a block, and the curvature of each row, (k, f, m)."""
        raise NotImplementedError

    def centre(self, b: np.ndarray) -> np.ndarray:
        """Return intercepts (F, k) in the form on which the loss depends."""
        return b

    def _of_block(self, values: np.ndarray, block: Block, folds: np.ndarray) -> np.ndarray:
        whole = len(folds) == len(values)
        return values[:, block.rows] if whole else values[folds, block.rows]

    def _kept_of(self, block: Block, folds: np.ndarray) -> Any:
        """Return what was kept of a block for some of its folds, (..., f, m)."""
        kept_folds, kept = self._kept[block.index]
        return kept if len(folds) == len(kept_folds) else kept[:, np.searchsorted(kept_folds, folds)]


class Softmax(FoldLoss):
    """Multinomial logistic loss of k classes; two classes are two columns -w/2 and w/2.

    Parameters
    ----------
    codes, weights, n_classes
        As in `FoldLoss`.
    """

    def __init__(self, codes: np.ndarray, weights: np.ndarray, n_classes: int):
        super().__init__(codes, weights, n_classes)
        # ||(-w/2, w/2)||^2 = ||w||^2 / 2.
        self.columns, self.penalty = n_classes, 2.0 if n_classes == 2 else 1.0

    def errors(self, z: np.ndarray, block: Block, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldLoss`."""
        k, f, m = z.shape
        codes, s = self._of_block(self._codes, block, folds), self._of_block(self._weights, block, folds)
        loss, error = loss_and_error(z.reshape(k, f * m), codes.reshape(-1))
        p = error.copy()
        p[codes.reshape(-1), np.arange(f * m)] += 1
        weight = s.astype(z.dtype)
        self._kept[block.index] = folds, np.concatenate([p.reshape(k, f, m), weight[None]])
        z *= weight
        return np.einsum("fm,fm->f", loss.reshape(f, m).astype(np.float64), s), z

    def hessian(self, u: np.ndarray, block: Block, folds: np.ndarray) -> np.ndarray:
        """See `FoldLoss`."""
        kept = self._kept_of(block, folds)
        p, s = kept[:-1], kept[-1]
        u *= p
        u -= p * u.sum(axis=0)
        u *= s
        return u

    def curvature(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldLoss`."""
        folds, kept = self._kept[block.index]
        p, s = kept[:-1], kept[-1]
        spread = 1 - p
        spread *= p
        spread *= s
        return folds, spread

    def centre(self, b: np.ndarray) -> np.ndarray:
        """Take the mean from intercepts (F, k): no probability depends on it."""
        return b - b.mean(axis=1, keepdims=True)


class SquaredHinge(FoldLoss):
    """Squared hinge loss of each class against the rest; two classes are one column.

    Parameters
    ----------
    codes, weights, n_classes
        As in `FoldLoss`. Weights of 0 leave rows out. As in LinearSVC (liblinear), with three classes or
        more other weights count only in the problem of the row's own class, and are 1 in the others.
    """

    def __init__(self, codes: np.ndarray, weights: np.ndarray, n_classes: int):
        super().__init__(codes, weights, n_classes)
        self.columns, self.penalty = (1 if n_classes == 2 else n_classes), 1.0

    def errors(self, z: np.ndarray, block: Block, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldLoss`."""
        codes, s = self._of_block(self._codes, block, folds), self._of_block(self._weights, block, folds)
        own = self._own(codes)
        weight = s.astype(z.dtype)
        # Of class c, s max(0, 1 - z)^2 for its rows and s max(0, 1 + z)^2 for the others.
        z[own] *= -1
        z += 1
        np.maximum(z, 0, out=z)
        twice = (z > 0).astype(z.dtype)
        twice *= 2 * (weight > 0) if self._n_classes > 2 else 2 * weight
        twice[own] = (2 * weight)[own[1:]] * (z[own] > 0)
        self._kept[block.index] = folds, twice
        losses = np.einsum("kfm,kfm,kfm->f", z, z, twice, dtype=np.float64) / 2
        z *= twice
        z[own] *= -1
        return losses, z

    def _own(self, codes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the positions in (k, f, m) of the rows in the column of their class."""
        if self.columns > 1:
            f, m = codes.shape
            return codes, np.arange(f)[:, None], np.arange(m)
        fold, row = np.nonzero(codes == 1)
        return np.zeros_like(fold), fold, row

    def hessian(self, u: np.ndarray, block: Block, folds: np.ndarray) -> np.ndarray:
        """See `FoldLoss`."""
        u *= self._kept_of(block, folds)
        return u

    def curvature(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldLoss`."""
        return self._kept[block.index]
