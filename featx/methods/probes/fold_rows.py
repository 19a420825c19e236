"""Rows of several folds, and sums over them, in blocks of rows.

`StackedRows` holds the rows of each fold, in its own coordinates. `SharedRows` holds all rows once: the rows
of a fold, standardised by its own means and deviations, differ from them by a shift and a scale of each
feature, which are applied to the coefficients instead.

A sum over rows takes two products with them: scores W x + b, and then sum_i e_i x_i, for what a loss makes
of the scores. Both are done for one block of rows before the next: a block fits into the processor's cache.
Blocks run in threads, each on one thread of BLAS: products with the coefficients of a few classes are too
thin for BLAS to divide them well. Sums are added in the order of the blocks, so the result does
not depend on the number of threads. A block has the rows that the same folds are trained on (`group_rows`),
and the other folds take no part in its products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from featx.threads import count_threads, limit_threads

# Size of the rows of a block, to fit into the processor's cache.
_BLOCK_BYTES = 2_500_000
# Smaller stacks of rows are one block: the products of all folds are done by one call.
_ONE_BLOCK = 500_000


@dataclass(frozen=True)
class Block:
    """Some rows, and the folds that are trained on them.

    Attributes
    ----------
    index : int
        Position of the block in the list of blocks.
    rows : slice
    folds : ndarray of int
    """

    index: int
    rows: slice
    folds: np.ndarray


#: Turns scores (k, f, m) of the rows of a block into E (k, f, m); the last argument has the f folds.
Respond = Callable[[Any, Block, np.ndarray], Any]
#: Returns folds of a block (f,), and the curvature of each row in each column (k, f, m).
Curvature = Callable[[Block], tuple[np.ndarray, Any]]


class FoldRows(Protocol):
    """Rows of several folds: F folds, n rows each, p coordinates."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    blocks: list[Block]

    def sums(
        self, W: np.ndarray, b: np.ndarray, respond: Respond, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return sum_i e_i x_i, (F, k, p), and sum_i e_i, (F, k) float64, for E of the scores W x + b.

        Coefficients (F, k, p) and intercepts (F, k) are of the rows' dtype. Folds that are not `active`
        (F,) are left out, or their sums mean nothing.
        """

    def curvature(self, of_rows: Curvature) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of the curvatures of the rows, (F, k) float64, and those along axes, (F, k, r)."""

    def divide(self, G: np.ndarray, along: np.ndarray, penalty: float) -> np.ndarray:
        """Apply the inverse of a Hessian that is diagonal along axes, as `curvature` says, to G (F, k, p)."""

    def in_threads(self) -> Any:
        """Return a context in which blocks run in as many threads as BLAS may use."""


class _BlockRows:
    """Sums of blocks of rows, in threads."""

    blocks: list[Block]
    _map: Callable[..., Iterable[Any]] = map

    @contextmanager
    def in_threads(self) -> Iterator[None]:
        """See `FoldRows`."""
        allowed = count_threads() if len(self.blocks) > 1 else 1
        if allowed == 1:
            yield
            return
        with limit_threads(1), ThreadPoolExecutor(allowed) as pool:
            self._map = pool.map
            try:
                yield
            finally:
                self._map = map

    def _sums(self, W: np.ndarray, b: np.ndarray, respond: Respond, active: np.ndarray):
        """As `FoldRows.sums`, by `_scores` and `_by_coefficients` of each block."""

        def one(block: Block):
            folds = block.folds[active[block.folds]]
            if not len(folds):
                return folds, 0, 0
            z = self._scores(block, folds, W)
            z += b[folds].T[..., None]
            E = respond(z, block, folds)
            return folds, self._by_coefficients(block, E), E.sum(axis=2).T

        by_W, by_b = np.zeros(W.shape, W.dtype), np.zeros(W.shape[:2])
        for folds, G, g in self._map(one, self.blocks):
            by_W[folds] += G
            by_b[folds] += g
        return by_W, by_b

    def _scores(self, block: Block, folds: np.ndarray, W: np.ndarray) -> np.ndarray:
        """Return W x, (k, f, m)."""
        raise NotImplementedError

    def _by_coefficients(self, block: Block, E: np.ndarray) -> np.ndarray:
        """Return sum_i e_i x_i, (f, k, p), for E (k, f, m)."""
        raise NotImplementedError


class StackedRows(_BlockRows):
    """Rows (F, n, p) whose products with each other are small between coordinates.

    Parameters
    ----------
    X : ndarray of shape (F, n, p)
        Rows of zeros fill up folds that are shorter.
    """

    def __init__(self, X: np.ndarray):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        F, n, p = X.shape
        lengths = np.maximum((X != 0).any(axis=2).sum(axis=1), 1)
        self._squares = (np.einsum("fnp,fnp->fp", X, X) / lengths[:, None].astype(X.dtype))[:, None]
        self._whole = X.size < _ONE_BLOCK
        if self._whole:
            self.blocks = [Block(0, slice(0, n), np.arange(F))]
        else:
            each = [(rows, np.array([f])) for f in range(F) for rows in _cut(0, n, p * X.itemsize)]
            self.blocks = [Block(i, *one) for i, one in enumerate(each)]

    def sums(
        self, W: np.ndarray, b: np.ndarray, respond: Respond, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`."""
        # To leave a fold out of one small product for all would take longer than the product.
        return self._sums(W, b, respond, active if not self._whole else np.ones(len(W), bool))

    def _of(self, block: Block) -> np.ndarray:
        return self.X[block.folds[0] : block.folds[-1] + 1, block.rows]

    def _scores(self, block: Block, folds: np.ndarray, W: np.ndarray) -> np.ndarray:
        z = self._of(block) @ np.ascontiguousarray(W[folds].swapaxes(1, 2))
        return np.ascontiguousarray(z.transpose(2, 0, 1))

    def _by_coefficients(self, block: Block, E: np.ndarray) -> np.ndarray:
        return E.swapaxes(0, 1) @ self._of(block)

    def curvature(self, of_rows: Curvature) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`; as if all rows of a fold had the same curvature."""

        def one(block: Block):
            folds, w = of_rows(block)
            return folds, w.sum(axis=2, dtype=np.float64).T

        found = list(self._map(one, self.blocks))
        total = np.zeros((self.shape[0], found[0][1].shape[1]))
        for folds, w in found:
            total[folds] += w
        return total, self.of_total(total)

    def of_total(self, total: np.ndarray) -> np.ndarray:
        """Return the curvatures along the coordinates for their sums (F, k) over the rows."""
        return total.astype(self.dtype)[..., None] * self._squares

    def divide(self, G: np.ndarray, along: np.ndarray, penalty: float) -> np.ndarray:
        """See `FoldRows`."""
        return G / (along + self.dtype.type(penalty))


class SharedRows(_BlockRows):
    """Standardised rows (n, p), of which each fold has a shift and a scale.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    axes : ndarray of shape (r, p)
        The leading principal axes; all others count as one.
    shifts, scales : ndarray of shape (F, p)
        The rows of a fold are (x - shift) / scale.
    blocks : list of Block
    """

    def __init__(self, X, axes, shifts, scales, blocks):
        self.X, self.dtype, self.shape = X, X.dtype, (len(shifts), *X.shape)
        self._axes, self.squares = axes, _squares_along(X, axes)
        self._shifts, self._scales = shifts.astype(X.dtype), scales.astype(X.dtype)
        self.blocks = blocks

    def sums(
        self, W: np.ndarray, b: np.ndarray, respond: Respond, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`."""
        W, b = self.of_shared(W, b)
        return self.of_folds(*self._sums(W, b, respond, active))

    def of_shared(self, W: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients and intercepts of the shared rows for those of the rows of each fold."""
        W = W / self._scales[:, None]
        return W, b - (W @ self._shifts[..., None])[..., 0]

    def of_folds(self, by_W: np.ndarray, by_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `sums` over the rows of each fold for those over the shared rows."""
        by_W -= by_b[..., None].astype(by_W.dtype) * self._shifts[:, None]
        by_W /= self._scales[:, None]
        return by_W, by_b

    def _scores(self, block: Block, folds: np.ndarray, W: np.ndarray) -> np.ndarray:
        k, p = W.shape[1:]
        columns = np.ascontiguousarray(W[folds].transpose(2, 1, 0)).reshape(p, -1)
        return np.ascontiguousarray((self.X[block.rows] @ columns).T).reshape(k, len(folds), -1)

    def _by_coefficients(self, block: Block, E: np.ndarray) -> np.ndarray:
        k, f, m = E.shape
        return (E.reshape(k * f, m) @ self.X[block.rows]).reshape(k, f, -1).swapaxes(0, 1)

    def curvature(self, of_rows: Curvature) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`; the last of the r is the mean over the other axes."""

        def one(block: Block):
            folds, w = of_rows(block)
            k, f, m = w.shape
            along = (w.reshape(k * f, m) @ self.squares[block.rows]).reshape(k, f, -1)
            return folds, w.sum(axis=2, dtype=np.float64).T, along.swapaxes(0, 1)

        found = list(self._map(one, self.blocks))
        F, k, r = self.shape[0], found[0][1].shape[1], self.squares.shape[1]
        total, along = np.zeros((F, k)), np.zeros((F, k, r), self.dtype)
        for folds, w, squares in found:
            total[folds] += w
            along[folds] += squares
        return total, along

    def divide(self, G: np.ndarray, along: np.ndarray, penalty: float) -> np.ndarray:
        """See `FoldRows`."""
        F, k, p = G.shape
        along = 1 / (along + self.dtype.type(penalty))
        rest = along[..., -1:]
        projected = (G.reshape(F * k, p) @ self._axes.T).reshape(F, k, -1)
        projected *= along[..., :-1] - rest
        return (projected.reshape(F * k, -1) @ self._axes).reshape(F, k, p) + G * rest


def _squares_along(X: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the squares of rows along axes, and last their mean along all others, (n, r + 1)."""
    r, p = axes.shape
    found = np.empty((len(X), r + 1), X.dtype)
    np.square(X @ axes.T, out=found[:, :r])
    rest = np.einsum("ij,ij->i", X, X) - found[:, :r].sum(axis=1)
    found[:, r] = np.maximum(rest, 0) / max(1, p - r)
    return found


def group_rows(members: np.ndarray, p: int, itemsize: int) -> tuple[np.ndarray, list[Block]]:
    """Put rows together that the same folds are trained on.

    Parameters
    ----------
    members : ndarray of shape (F, n), bool
        Which folds are trained on which rows.
    p, itemsize : int
        Number and size of the values of a row.

    Returns
    -------
    order : ndarray of int
        Positions of the rows in the order of the blocks, without those on which no fold is trained.
    blocks : list of Block
    """
    patterns, of_row = np.unique(members, axis=1, return_inverse=True)
    order: list[np.ndarray] = []
    blocks: list[Block] = []
    at = 0
    for i, pattern in enumerate(patterns.T):
        rows = np.flatnonzero(of_row.reshape(-1) == i)
        if not pattern.any():
            continue
        for cut in _cut(at, at + len(rows), p * itemsize):
            blocks.append(Block(len(blocks), cut, np.flatnonzero(pattern)))
        order.append(rows)
        at += len(rows)
    return np.concatenate(order), blocks


def _cut(start: int, stop: int, row_bytes: int) -> list[slice]:
    """Divide a range of rows into blocks of about equal size."""
    n = max(1, -(-(stop - start) * row_bytes // _BLOCK_BYTES))
    ends = np.linspace(start, stop, n + 1).astype(int).tolist()
    return [slice(*ends[i : i + 2]) for i in range(n)]
