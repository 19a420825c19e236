"""Compute the loss of a multinomial logistic regression, its gradient and its Hessian, in blocks of rows.

With scores z_i = x_i W + b, weights s_i and true class y, the loss of a row is computed from scores relative
to that of its own class, d_c = z_c - z_y. So a nearly certain row keeps its relative precision in float32,
where log(1 + tiny) and 1 - p_y would lose it::

    m = max_c d_c >= 0,   a_c = exp(d_c - m),   o = sum_{c != y} a_c,   t = o + exp(-m)
    loss = m + log t,     dloss/dz_c = p_c = a_c / t  (c != y),         dloss/dz_y = p_y - 1 = -o / t

With S_i = diag(p_i) - p_i p_i^T the Hessian is sum_i s_i S_i (x) x_i x_i^T; its product with V is X^T r with
r_i = s_i S_i u_i, u = X V. In the directions U of the classes that diagonalise sum_i s_i S_i, it is nearly
block-diagonal, with a block sum_i s_i (u^T S_i u) x_i x_i^T for each direction: the preconditioner of
`newton`.

Most of the work is the two products with X. Both are done for one block of rows before the next: a block fits
into the processor's cache, so each row is read from memory once. Blocks run in threads; their sums are
float64 and added in order, so the result does not depend on the number of threads. Parameters are one float64
array (p + 1, k) with the intercepts in the last row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

# Size of a block of rows, to fit into the processor's cache.
_BLOCK_BYTES = 5_000_000
# With more entries in the Hessian's blocks, all directions share one block.
_OWN_BLOCKS = 50_000_000


class NumpyRows:
    """Training rows in memory, and the sums over them; as a context, it runs blocks in threads.

    Parameters
    ----------
    X : ndarray of shape (n, p), float32 or float64
        Rows; neither copied nor changed.
    codes : ndarray of shape (n,), int
        Class of each row, 0 to `n_classes` - 1.
    weights : ndarray of shape (n,), float64
    n_classes : int

    Attributes
    ----------
    double : bool
        Whether products are in float64; may be set to True for float32 rows.
    """

    def __init__(self, X: np.ndarray, codes: np.ndarray, weights: np.ndarray, n_classes: int):
        self.X, self.codes, self.weights, self.n_classes = X, codes, weights, n_classes
        self.double = X.dtype == np.float64
        step = max(64, _BLOCK_BYTES // (X.shape[1] * X.itemsize))
        self._blocks = [slice(i, min(i + step, len(X))) for i in range(0, len(X), step)]
        self.map: Callable[..., Iterable[Any]] = map
        self._p = np.empty((n_classes, len(X)))

    def __enter__(self) -> NumpyRows:
        self._stack = ExitStack()
        # As many threads as BLAS may use, because callers and the environment limit that number.
        allowed = max((lib["num_threads"] for lib in threadpool_info()), default=1)
        if min(allowed, len(self._blocks)) > 1:
            self._stack.enter_context(threadpool_limits(1))
            self.map = self._stack.enter_context(ThreadPoolExecutor(allowed)).map
        return self

    def __exit__(self, *_: object) -> None:
        self.map = map
        self._stack.close()

    def loss_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum of losses and its gradient (p + 1, k); the other methods then refer to `theta`."""
        dtype = self._dtype
        W, b = theta[:-1].astype(dtype), theta[-1].astype(dtype)
        if self._p.dtype != dtype:
            self._p = np.empty(self._p.shape, dtype)

        def block(rows: slice):
            x, codes, s = self._rows(rows), self.codes[rows], self.weights[rows]
            loss, error = loss_and_error(np.ascontiguousarray((x @ W + b).T), codes)
            p = self._p[:, rows]
            p[...] = error
            p[codes, np.arange(len(codes))] += 1
            error *= s.astype(dtype)
            return loss.astype(np.float64) @ s, x.T @ error.T, error.sum(axis=1, dtype=np.float64)

        value, gradient = 0.0, np.zeros(theta.shape)
        for loss, by_W, by_b in self.map(block, self._blocks):
            value += float(loss)
            gradient[:-1] += by_W
            gradient[-1] += by_b
        return value, gradient

    def hessian(self, V: np.ndarray) -> np.ndarray:
        """Return the product of the Hessian of the sum of losses with V, (p + 1, k)."""
        dtype = self._dtype
        W, b = V[:-1].astype(dtype), V[-1].astype(dtype)

        def block(rows: slice):
            x, p = self._rows(rows), self._p[:, rows]
            u = np.ascontiguousarray((x @ W + b).T)
            u -= (p * u).sum(axis=0)
            u *= p
            u *= self.weights[rows].astype(dtype)
            return x.T @ u.T, u.sum(axis=1, dtype=np.float64)

        product = np.zeros(V.shape)
        for by_W, by_b in self.map(block, self._blocks):
            product[:-1] += by_W
            product[-1] += by_b
        return product

    def curvature(self) -> float:
        """Return the sum of s_i tr S_i."""
        return float(self._row_curvature().sum())

    def _row_curvature(self) -> np.ndarray:
        return self.weights * (1 - np.square(self._p).sum(axis=0, dtype=np.float64))

    def class_directions(self) -> np.ndarray:
        """Return the eigenvectors of sum_i s_i S_i in columns (k, k), by rising eigenvalue.

        The first, of eigenvalue 0, is common to all classes; no loss depends on it.
        """
        p = self._p.astype(np.float64, copy=False)
        weighted = p * self.weights
        return np.linalg.eigh(np.diag(weighted.sum(axis=1)) - weighted @ p.T)[1]

    def diagonal_blocks(self, directions: np.ndarray, most: int) -> np.ndarray:
        """Return the Hessian's block of each direction, (k, p + 1, p + 1), estimated from `most` rows.

        Where k blocks would take too much memory, it is their mean (1, p + 1, p + 1). Rows are drawn by their
        curvature (`draw`), because rows whose class is certain add nothing.
        """
        rows, share = draw(self._row_curvature(), most)
        P = self._p[:, rows].astype(np.float64)
        # u^T S_i u of each direction and row.
        by_direction = np.square(directions).T @ P - np.square(directions.T @ P)
        by_direction = np.maximum(by_direction, 0) * (self.weights[rows] * share)
        if shares_block(self.n_classes, self.X.shape[1]):
            by_direction = by_direction.mean(axis=0, keepdims=True)
        x = np.hstack([self.X[rows], np.ones((len(rows), 1), self.X.dtype)])

        def one(w: np.ndarray) -> np.ndarray:
            scaled = x * np.sqrt(w).astype(x.dtype)[:, None]
            return (scaled.T @ scaled).astype(np.float64)

        return np.stack(list(self.map(one, by_direction)))

    @property
    def _dtype(self):
        return np.float64 if self.double else self.X.dtype

    def _rows(self, rows: slice) -> np.ndarray:
        return self.X[rows].astype(self._dtype, copy=False)


def shares_block(k: int, p: int) -> bool:
    """Return whether all directions share one block, to save memory."""
    return k * (p + 1) ** 2 > _OWN_BLOCKS


def draw(curvature: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a sample of rows; return their positions and weights, with which sums are estimated without bias.

    `most` rows are drawn with replacement and the probability q_i = (curvature_i / sum + 1 / n) / 2, in part
    uniform so that no row gets a huge weight; each time a row is drawn adds 1 / (most q_i) to its weight.
    """
    n = len(curvature)
    if most == n:
        return np.arange(n), np.ones(n)
    chance = 0.5 * curvature / max(curvature.sum(), 1e-300) + 0.5 / n
    chance /= chance.sum()
    rows, counts = np.unique(np.random.default_rng(0).choice(n, most, p=chance), return_counts=True)
    return rows, counts / (most * chance[rows])


def sample_size(n: int, p: int) -> int:
    """Return the first number of rows for `diagonal_blocks`."""
    return min(n, max(5000, 8 * p))


def loss_and_error(z: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return losses (n,) and their gradient by the scores `z` (k, n), which it overwrites."""
    own = codes, np.arange(len(codes))
    z -= z[own]
    most = z.max(axis=0)
    z -= most
    np.exp(z, out=z)
    z[own] = 0
    others = z.sum(axis=0)
    # Compute t - 1 first: it keeps its precision for a certain row.
    excess = others + np.expm1(-most)
    z /= 1 + excess
    z[own] = -others / (1 + excess)
    return most + np.log1p(excess), z
