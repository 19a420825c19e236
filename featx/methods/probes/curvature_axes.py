"""Precondition conjugate gradients on the Hessian of a multinomial logistic regression, for many penalties.

With S_i = diag(p_i) - p_i p_i^T the Hessian of the losses is H = sum_i s_i S_i (x) x_i x_i^T. Let U diag(mu)
U^T = sum_i s_i S_i. Between two columns u, v of U the block sum_i s_i (u^T S_i v) x_i x_i^T is small, because
its weights add up to 0; the block of u with itself, H_u = sum_i w_i x_i x_i^T, has weights w_i = s_i u^T S_i
u of one sign. Its rows have the weighted mean m_u. In coordinates x - m_u, the intercept sees none of the
coefficients, and H_u is the sum of w_i on the intercept and the weighted scatter C_u on the coefficients.

The scatters of all directions and penalties have about the same principal axes V: those of rows weighted by
s_i tr S_i. So C_u is about V diag(d_u) V^T with d_u = sum_i w_i (v^T (x_i - m_u))^2, and one decomposition
serves every penalty: H^-1 is about sum_u u u^T (x) V (diag(d_u) + lambda)^-1 V^T. Axes, means and d_u are
estimated from a sample of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from featx.methods.probes.softmax import NumpyRows
    from featx.methods.probes.torch_rows import TorchRows

# Change of the curvature of a problem after which its directions and scatters are computed again.
_CHANGE = 0.2
# Ratio of the curvatures after which the axes are; they hardly turn, and cost the most.
_TURN = 4.0


class CurvatureAxes:
    """Approximate inverses of the Hessians of several problems on the same rows.

    Parameters
    ----------
    rows : NumpyRows or TorchRows
    n_sampled : int
        Number of rows to estimate from.
    fit_intercept : bool, default=True
    """

    def __init__(self, rows: NumpyRows | TorchRows, n_sampled: int, *, fit_intercept: bool = True):
        self._rows, self._n_sampled, self._intercept = rows, n_sampled, fit_intercept
        # Share of the mean curvature that every direction has at least: a sample, or single precision, does
        # not see that of some. Means far from zero, without an intercept, have all but 1e-10 of the total.
        self._least = 1e-12 if rows.double and n_sampled >= len(rows.X) else 1e-6
        self._axes_at = 0.0
        self.begin(0)

    def begin(self, n_problems: int) -> None:
        """Begin with problems that are not those of before; the axes are kept."""
        k, p = self._rows.n_classes, self._rows.X.shape[1]
        self._at = np.zeros(n_problems)
        self._directions = np.empty((n_problems, k, k))
        self._totals = np.empty((n_problems, k, 1))
        self._means, self._spreads = np.empty((n_problems, k, p)), np.empty((n_problems, k, p))

    def update(self, which: np.ndarray) -> None:
        """Follow the parameters of the problems `which`, where their Hessians have changed enough."""
        curvature = self._rows.curvature()
        mean = curvature.mean()
        if not self._axes_at / _TURN <= mean <= self._axes_at * _TURN:
            n = len(self._rows.X)
            self._centre, self._axes = self._rows.find_axes(min(n, self._n_sampled), centred=self._intercept)
            self._axes_at = mean
            self._at[:] = 0
        changed = which[np.abs(curvature - self._at)[which] >= _CHANGE * self._at[which]]
        if not len(changed):
            return
        directions = self._rows.class_directions(changed)
        totals, first, second = self._rows.sum_along_axes(directions, changed)
        least = 1e-6 * totals.mean(axis=1, keepdims=True) + 1e-12 * float(self._rows.weights.sum())
        totals = np.maximum(totals, least)[..., None]
        means = first / totals if self._intercept else np.zeros_like(first)
        self._at[changed], self._directions[changed] = curvature[changed], directions
        self._totals[changed], self._means[changed] = totals, means
        self._spreads[changed] = np.maximum(second - totals * means**2, 0)

    def divide(self, G: np.ndarray, penalty: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Apply the approximate inverses of the problems `which` to G (m, p + 1, k), penalties (m,)."""
        U, means = self._directions[which], self._means[which]
        spreads = self._spreads[which] + penalty[:, None, None]
        spreads += self._least * spreads.mean(axis=2, keepdims=True)
        along = (G @ U).swapaxes(1, 2)
        by_b = along[..., -1:]
        # Derivatives by the coefficients of x - m_u, along the axes.
        inner = self._multiply(along[..., :-1] - by_b * self._centre, self._axes) - by_b * means
        inner /= spreads
        W = self._multiply(inner, self._axes.T)
        b = (
            by_b / self._totals[which]
            - W @ self._centre[:, None]
            - (means * inner).sum(axis=2, keepdims=True)
        )
        found = (U @ np.concatenate([W, b], axis=2)).swapaxes(1, 2)
        if self._intercept:
            # Neither loss nor penalty depends on the mean of the intercepts: divided by almost zero, rounding
            # errors would make all intercepts grow together until they drown the scores.
            found[:, -1] -= found[:, -1].mean(axis=1, keepdims=True)
        else:
            found[:, -1] = 0
        return found

    @staticmethod
    def _multiply(A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Return A B for A (m, k, p) in the precision of B."""
        m, k, p = A.shape
        return (A.reshape(m * k, p).astype(B.dtype, copy=False) @ B).astype(np.float64).reshape(m, k, -1)
