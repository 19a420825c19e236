"""Compute the loss of a multinomial logistic regression, its gradient and its Hessian, in blocks of rows.

With scores z_i = x_i W + b, weights s_i and true class y, the loss of a row is computed from scores relative
to that of its own class, d_c = z_c - z_y. So a nearly certain row keeps its relative precision in float32,
where log(1 + tiny) and 1 - p_y would lose it::

    m = max_c d_c >= 0,   a_c = exp(d_c - m),   o = sum_{c != y} a_c,   t = o + exp(-m)
    loss = m + log t,     dloss/dz_c = p_c = a_c / t  (c != y),         dloss/dz_y = p_y - 1 = -o / t

With S_i = diag(p_i) - p_i p_i^T the Hessian is sum_i s_i S_i (x) x_i x_i^T; its product with V is X^T r with
r_i = s_i S_i u_i, u = X V. `curvature_axes` approximates its inverse, from sums along axes that are found
here.

Most of the work is the two products with X. Both are done for one block of rows before the next: a block fits
into the processor's cache, so each row is read from memory once. Blocks run in threads; their sums are
float64 and added in order, so the result does not depend on the number of threads. Parameters of a problem
are one float64 array (p + 1, k) with the intercepts in the last row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from scipy.linalg import eigh

from featx.threads import count_threads, limit_threads

# Size of a block of rows, to fit into the processor's cache.
_BLOCK_BYTES = 5_000_000
# Weight that all rows have in the choice of axes.
LEAST = 1e-12


class NumpyRows:
    """Training rows in memory, and the sums over them; as a context, it runs blocks in threads.

    The sums are those of several problems at once, which share rows, labels and weights and have parameters
    of their own: one product of the rows with the columns of eight problems takes much less time than eight
    products. Each method takes the positions of the problems, `which` (m,).

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
        Whether losses and gradients are computed in float64; may be set to True for float32 rows. Products
        of the rows with the Hessian stay in the rows' precision: the next step corrects what is inexact.
    """

    def __init__(self, X: np.ndarray, codes: np.ndarray, weights: np.ndarray, n_classes: int):
        self.X, self.codes, self.weights, self.n_classes = X, codes, weights, n_classes
        self.double = X.dtype == np.float64
        step = max(64, _BLOCK_BYTES // (X.shape[1] * X.itemsize))
        self._blocks = [slice(i, min(i + step, len(X))) for i in range(0, len(X), step)]
        self.map: Callable[..., Iterable[Any]] = map
        self._p = np.empty((0, n_classes, len(X)), X.dtype)

    def __enter__(self) -> NumpyRows:
        self._stack = ExitStack()
        allowed = count_threads()
        if min(allowed, len(self._blocks)) > 1:
            self._stack.enter_context(limit_threads(1))
            self.map = self._stack.enter_context(ThreadPoolExecutor(allowed)).map
        return self

    def __exit__(self, *_: object) -> None:
        self.map = map
        self._stack.close()

    def begin(self, n_problems: int) -> None:
        """Make room for the probabilities of a number of problems; those of earlier ones are dropped."""
        if len(self._p) != n_problems:
            self._p = np.empty((n_problems, self.n_classes, len(self.X)), self._p.dtype)

    def loss_and_gradient(self, theta: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of losses (m,) and their gradients (m, p + 1, k).

        The other methods then refer to these parameters `theta` (m, p + 1, k) of the problems `which`.
        """
        dtype = np.float64 if self.double else self.X.dtype
        if self._p.dtype != dtype:
            replaced = len(which) == len(self._p)
            self._p = np.empty(self._p.shape, dtype) if replaced else self._p.astype(dtype)
        W, b = _columns(theta, dtype)

        def block(rows: slice):
            x, codes, s = self.X[rows].astype(dtype, copy=False), self.codes[rows], self.weights[rows]
            own, narrow = (codes, np.arange(len(codes))), s.astype(dtype)
            z = self._scores(x, W, b)
            losses = np.empty(len(which))
            for i, problem in enumerate(which):
                loss, error = loss_and_error(z[i], codes)
                losses[i] = loss.astype(np.float64) @ s
                p = self._p[problem, :, rows]
                p[...] = error
                p[own] += 1
                error *= narrow
            return losses, self._by_coefficients(x, z), z.sum(axis=2, dtype=np.float64)

        values, gradient = np.zeros(len(theta)), np.zeros(theta.shape)
        for losses, by_W, by_b in self.map(block, self._blocks):
            values += losses
            gradient[:, :-1] += by_W
            gradient[:, -1] += by_b
        return values, gradient

    def hessian(self, V: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return the products of the Hessians of the sums of losses with V, (m, p + 1, k)."""
        W, b = _columns(V, self.X.dtype)

        def block(rows: slice):
            x, s = self.X[rows], self.weights[rows].astype(self._p.dtype)
            u = self._scores(x, W, b).astype(self._p.dtype, copy=False)
            for problem, v in zip(which, u, strict=True):
                p = self._p[problem, :, rows]
                v -= np.einsum("ij,ij->j", p, v)
                v *= p
                v *= s
            return self._by_coefficients(x, u.astype(x.dtype, copy=False)), u.sum(axis=2, dtype=np.float64)

        product = np.zeros(V.shape)
        for by_W, by_b in self.map(block, self._blocks):
            product[:, :-1] += by_W
            product[:, -1] += by_b
        return product

    def curvature(self) -> np.ndarray:
        """Return the sum of s_i tr S_i of each problem."""
        return np.array([_traces(p) @ self.weights for p in self._p])

    def class_directions(self, which: np.ndarray) -> np.ndarray:
        """Return the eigenvectors of sum_i s_i S_i in columns (m, k, k), by rising eigenvalue.

        The first, of eigenvalue 0, is common to all classes; no loss depends on it.
        """
        found = []
        for problem in which:
            p = self._p[problem].astype(np.float64, copy=False)
            weighted = p * self.weights
            found.append(np.linalg.eigh(np.diag(weighted.sum(axis=1)) - weighted @ p.T)[1])
        return np.stack(found)

    def find_axes(self, most: int, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean (p,) and the principal axes (p, p) in columns of the rows, weighted by curvature.

        They are those of `most` rows, drawn by their curvature on average over the problems (`draw`), because
        rows whose class is certain add nothing. If not `centred`, the mean is 0.
        """
        by_problem = [_traces(p) * self.weights for p in self._p]
        # Each problem counts as much; where every row is certain, each row does.
        shares = [part / max(part.sum(), 1e-300) for part in by_problem]
        curvature = np.sum(shares, axis=0) + LEAST / len(self.X)
        self._sample, self._share = draw(curvature, most)
        w = curvature[self._sample] * self._share
        x = np.asarray(self.X[self._sample])
        mean = w @ x / w.sum() if centred else np.zeros(x.shape[1])
        x = x - mean.astype(x.dtype)
        scaled = x * np.sqrt(w).astype(x.dtype)[:, None]
        axes = eigh(scaled.T @ scaled, driver="evd", check_finite=False)[1]
        self._along = x @ axes
        return mean, axes

    def sum_along_axes(self, directions: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return sums over the drawn rows of w, w t and w t^2, (m, k), (m, k, p) and (m, k, p).

        w_i = s_i u^T S_i u for each direction u (m, k, k) of the classes, and t are the coordinates along the
        axes that `find_axes` returned.
        """
        P = np.stack([self._p[problem][:, self._sample] for problem in which]).astype(np.float64)
        U = directions.swapaxes(1, 2)
        w = np.maximum(np.square(U) @ P - np.square(U @ P), 0) * (self.weights[self._sample] * self._share)
        m, k, _ = w.shape
        flat = w.reshape(m * k, -1).astype(self._along.dtype)
        first, second = flat @ self._along, flat @ np.square(self._along)
        return w.sum(axis=2), first.reshape(m, k, -1), second.reshape(m, k, -1)

    def _scores(self, x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray((x @ W + b).T).reshape(-1, self.n_classes, len(x))

    def _by_coefficients(self, x: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Return sum_i x_i r_i, (m, p, k), for r (m, k, n)."""
        return (x.T @ r.reshape(-1, len(x)).T).reshape(x.shape[1], -1, self.n_classes).swapaxes(0, 1)


def _columns(theta: np.ndarray, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients (p, m k) and intercepts (m k,) of parameters (m, p + 1, k)."""
    flat = theta.astype(dtype).swapaxes(0, 1).reshape(theta.shape[1], -1)
    return flat[:-1], flat[-1]


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
    """Return the number of rows that are drawn to find axes."""
    return min(n, max(5000, 8 * p))


def _traces(p: np.ndarray) -> np.ndarray:
    """Return tr S_i of each row for the probabilities p (k, n)."""
    return np.maximum(1 - np.square(p).sum(axis=0, dtype=np.float64), 0)


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
