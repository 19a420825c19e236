"""L2-regularised logistic regression by preconditioned Newton-CG, for many penalties on many rows.

Scikit-learn's objective, with the penalty lambda = 1 / C on the sum of losses::

    F(W, b) = sum_i s_i loss(y_i, x_i W + b) + lambda ||W||^2 / 2

*Newton-CG* (Nocedal and Wright, "Numerical Optimization", 2006, section 7.1): each step minimises the
quadratic model of F by conjugate gradients; a product with the Hessian costs as much as a gradient. The model
also predicts how much F can still decrease: the Newton decrement g^T H^-1 g / 2. It is the criterion to stop,
because it stays meaningful where the curvature vanishes (separable data, a weak penalty), unlike the size of
the gradient or the progress of a quasi-Newton method.

*The preconditioner*. With S_i = diag(p_i) - p_i p_i^T the Hessian of the losses is H = sum_i s_i S_i (x) x_i
x_i^T. Let U diag(mu) U^T = sum_i s_i S_i. Between two columns u, v of U the block sum_i s_i (u^T S_i v) x_i
x_i^T is small, because its weights sum to zero; the block of u with itself, H_u = sum_i s_i (u^T S_i u) x_i
x_i^T, has weights of one sign. So H^-1 is about sum_u u u^T (x) (H_u + lambda)^-1. H_u is estimated from a
sample of rows (`softmax.NumpyRows.diagonal_blocks`), which grows fourfold after each slow step. It is
computed again when sum_i s_i tr S_i has changed by a fifth and the passes since then have cost about as much.

*A step* takes four products at least. It ends when the last one gained only a small share of the whole gain
of the step: 5 % far from the minimum, where the quadratic model is inexact; 2 % near it; 10 % where the gain
is less than a tenth of the tolerance, so that only the decrement is needed.

*From penalty to penalty* the solution is a smooth function of log lambda: each starts from the line through
the two before it. *Two classes* are two columns W = (-w/2, w/2) with ||W||^2 = ||w||^2 / 2, so the penalty is
doubled. *Fewer rows than features*: with Xc^T = Q R the solution is W = Q A, ||W|| = ||A||, and the rows
become R^T, with n numbers each.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from featx.methods.probes.softmax import NumpyRows, sample_size

if TYPE_CHECKING:
    from featx.methods.probes.products import Products
    from featx.methods.probes.torch_rows import TorchRows

# Largest training set, in entries, that is always copied to float64.
_SMALL = 4_000_000
# Relative rounding error of the objective.
_NOISE = {False: 2e-8, True: 1e-13}
_FEWEST_CG, _MOST_CG = 3, 200
# If a step takes more products, the sample of rows of the preconditioner is too small.
_MANY_CG = 20
# Relative change of the curvature of all rows after which the preconditioner is computed again.
_CHANGE = 0.2
# Where rounding errors end the descent, this share of the objective counts as converged.
_ENOUGH = 1e-7


class NewtonPath:
    """Solve for any number of penalties on one training set, fastest in order from strong to weak.

    Parameters
    ----------
    X : ndarray of shape (n, p), float32 or float64
        Rows; a large set is not copied. Its float32 rows are multiplied in float32, or in float64 once
        rounding errors end the descent short of `tol`.
    y : ndarray of shape (n,)
        Labels of two classes or more.
    sample_weight : ndarray of shape (n,), default=None
    fit_intercept : bool, default=True
    device : str, default="cpu"
        As in `LogisticProbe`.
    products : Products, default=None
        What computes the products with the rows, in the place of `device`.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted labels.
    products : int
        Number of passes over the rows so far.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        sample_weight=None,
        fit_intercept: bool = True,
        device: str = "cpu",
        products: Products | None = None,
    ):
        self.classes, codes = np.unique(y, return_inverse=True)
        n, p = X.shape
        s = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self._shift = np.zeros(p)
        self._basis: np.ndarray | None = None
        means = X.mean(axis=0, dtype=np.float64)
        # float32 loses digits to a mean far from zero.
        far = np.abs(means) > 20 * X.std(axis=0, dtype=np.float64) + 1e-30
        if device == "auto":
            device = "cuda" if X.size > _SMALL and sees_gpu() else "cpu"
        small = X.size <= _SMALL or n <= p
        if small:
            X = X.astype(np.float64)
        if fit_intercept and (small or far.any()):
            self._shift = means if small else np.where(far, means, 0)
            X = X - self._shift.astype(X.dtype)
        if n < p:
            self._basis, R = np.linalg.qr(X.T)
            X = np.ascontiguousarray(R.T)
        k = len(self.classes)
        rows = _rows(X, codes, s, k, device) if products is None else products.logistic_rows(X, codes, s, k)
        self._begin(rows, fit_intercept)

    @classmethod
    def on_rows(cls, rows: NumpyRows | TorchRows, classes: np.ndarray) -> NewtonPath:
        """Solve on rows that are ready: features of about one scale, with means near zero."""
        path = cls.__new__(cls)
        path.classes, path._shift, path._basis = classes, np.zeros(rows.X.shape[1]), None
        path._begin(rows, True)
        return path

    def _begin(self, rows: NumpyRows | TorchRows, fit_intercept: bool) -> None:
        self._rows = rows
        self._intercept = fit_intercept
        self._blocks: np.ndarray | None = None
        self._since, self._at, self._sampled = 0, 0.0, 0
        self._sample = sample_size(*self._rows.X.shape)
        self._past: list[tuple[float, np.ndarray]] = []
        self._start: np.ndarray | None = None
        self.products = 0

    def start_from(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        """Start the next penalty from a solution for another training set with the same classes."""
        W = np.vstack([-coef[0] / 2, coef[0] / 2]) if len(self.classes) == 2 else coef
        b = np.array([-intercept[0] / 2, intercept[0] / 2]) if len(self.classes) == 2 else intercept
        b = b + W @ self._shift if self._intercept else np.zeros(len(W))
        inner = W.T if self._basis is None else self._basis.T @ W.T
        self._start = np.vstack([inner, b])

    def solve(
        self, C: float, *, tol: float = 1e-7, max_iter: int = 200
    ) -> tuple[np.ndarray, np.ndarray, int, bool]:
        """Return coefficients, intercepts, the number of Newton steps and whether they converged.

        `C`, `tol` and `max_iter` are those of `LogisticProbe`, as are the shapes.
        """
        k, d = len(self.classes), self._rows.X.shape[1]
        penalty = np.full((d + 1, 1), (2 if k == 2 else 1) / C)
        penalty[-1] = 0
        with self._rows:
            theta, n_iter, converged = self._descend(penalty, self._first(C, penalty), tol, max_iter)
        self._past = [*self._past[-1:], (float(np.log(C)), theta)]
        self._start = None
        W = theta[:-1] if self._basis is None else self._basis @ theta[:-1]
        # A constant added to all intercepts changes no probability.
        b = theta[-1] - self._shift @ W
        b -= b.mean()
        coef, intercept = W.T, b
        if k == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        return np.ascontiguousarray(coef), intercept, n_iter, converged

    def _first(self, C: float, penalty: np.ndarray) -> np.ndarray:
        """Return the parameters to start from."""
        if self._start is not None:
            return self._start
        if not self._past:
            return np.zeros((self._rows.X.shape[1] + 1, len(self.classes)))
        last_C, last = self._past[-1]
        if len(self._past) == 1 or last_C == self._past[0][0]:
            return last
        first_C, first = self._past[0]
        reach = (np.log(C) - last_C) / (last_C - first_C)
        if not 0 < reach <= 2:
            return last
        ahead = last + reach * (last - first)
        return min((ahead, last), key=lambda theta: self._value(theta, penalty)[0])

    def _descend(self, penalty, theta, tol: float, max_iter: int) -> tuple[np.ndarray, int, bool]:
        value, gradient = self._value(theta, penalty)
        factors: list[Any] | None = None
        for n_iter in range(max_iter):
            factors = self._preconditioner(penalty, factors)
            step, decrement = self._newton_step(gradient, penalty, factors, tol * value)
            found = self._search(theta, value, gradient, step, penalty)
            if found is not None:
                theta, value, gradient = found
            if decrement <= tol * value:
                return theta, n_iter + 1, True
            if found is None:
                if self._rows.double:
                    return theta, n_iter + 1, decrement <= _ENOUGH * value
                self._rows.double = True
                value, gradient = self._value(theta, penalty)
        return theta, max_iter, False

    def _newton_step(self, gradient, penalty, factors, enough: float) -> tuple[np.ndarray, float]:
        """Return an approximate minimum of the quadratic model, and the decrease of the model there."""
        step, residual = np.zeros_like(gradient), -gradient
        fallen = 0.0
        direction = solved = self._divide(factors, residual)
        rho = float(np.vdot(residual, solved))
        for i in range(_MOST_CG):
            if rho <= 0:
                break
            product = self._rows.hessian(direction) + penalty * direction
            if not self._intercept:
                product[-1] = 0
            self.products += 1
            self._since += 1
            curvature = float(np.vdot(direction, product))
            if curvature <= 0:
                break
            a = rho / curvature
            step = step + a * direction
            residual = residual - a * product
            gained = a * rho / 2
            fallen += gained
            # See "A step" above.
            share = 0.05 if fallen > 100 * enough else 0.02 if fallen > 0.1 * enough else 0.1
            if i >= _FEWEST_CG and gained < share * fallen:
                break
            solved = self._divide(factors, residual)
            rho, before = float(np.vdot(residual, solved)), rho
            direction = solved + (rho / before) * direction
        if i >= _MANY_CG:
            self._sample = min(len(self._rows.X), 4 * self._sample)
        return step, fallen

    def _search(self, theta, value, gradient, step, penalty):
        """Return parameters along the step, their value and gradient; None where none has a lower value."""
        slope = float(np.vdot(gradient, step))
        noise = _NOISE[self._rows.double] * abs(value)
        t = 1.0
        for _ in range(30):
            new, new_gradient = self._value(theta + t * step, penalty)
            if new <= value + 1e-4 * t * slope + noise:
                return theta + t * step, new, new_gradient
            # Go to the minimum of the parabola through both values and the slope.
            curve = new - value - t * slope
            t *= float(np.clip(-slope * t / (2 * curve), 0.1, 0.5)) if np.isfinite(curve) else 0.1
            if -t * slope < noise:
                break
        self._value(theta, penalty)  # the Hessian is that of the last parameters evaluated
        return None

    def _value(self, theta, penalty) -> tuple[float, np.ndarray]:
        self.products += 1
        self._since += 1
        value, gradient = self._rows.loss_and_gradient(theta)
        gradient += penalty * theta
        if not self._intercept:
            gradient[-1] = 0
        return value + float(np.vdot(penalty * theta, theta)) / 2, gradient

    def _preconditioner(self, penalty, factors: list[Any] | None) -> list[Any]:
        """Return factors of the blocks; compute new blocks if the Hessian has changed enough."""
        n, p = self._rows.X.shape
        curvature = self._rows.curvature()
        aged = abs(curvature - self._at) > _CHANGE * self._at or self._sample > self._sampled
        if self._blocks is None or (aged and self._since >= self._sample * p / (12 * n)):
            self._directions = self._rows.class_directions()
            self._blocks = self._rows.diagonal_blocks(self._directions, self._sample)
            self._at, self._sampled, self._since, factors = curvature, self._sample, 0, None
        return factors or _factors(self._blocks, penalty, self._intercept, sampled=self._sample < n)

    def _divide(self, factors: list[Any], G: np.ndarray) -> np.ndarray:
        """Apply the preconditioner to G (p + 1, k)."""
        G = G.astype(factors[0][0].dtype, copy=False)
        if len(factors) == 1:
            found = cho_solve(factors[0], G, check_finite=False).astype(np.float64)
        else:
            U = self._directions.astype(G.dtype)
            G = np.asfortranarray(G @ U)

            def solved(j: int) -> np.ndarray:
                return cho_solve(factors[j], G[:, j], check_finite=False)

            columns = list(self._rows.map(solved, range(len(factors))))
            found = (np.stack(columns, axis=1) @ U.T).astype(np.float64)
        # Neither loss nor penalty depends on the mean of the intercepts: divided by almost zero, rounding
        # errors would make all intercepts grow together until they drown the scores.
        found[-1] -= found[-1].mean()
        return found


def sees_gpu() -> bool:
    """Return whether torch, which takes seconds to import, is imported already and sees a GPU."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available()


def _rows(X, codes, weights, n_classes: int, device: str) -> NumpyRows | TorchRows:
    if device == "cpu":
        return NumpyRows(X, codes, weights, n_classes)
    from featx.methods.probes.torch_rows import TorchRows

    return TorchRows(X, codes, weights, n_classes, device)


def _factors(blocks, penalty, intercept: bool, *, sampled: bool) -> list[Any]:
    """Return the Cholesky factors of the blocks with the penalty on their diagonals."""
    found = []
    # float32 is precise enough for blocks that are estimated from a sample.
    dtype = np.float32 if sampled else np.float64
    for block in blocks:
        A = block.copy()
        if not intercept:
            A[-1], A[:, -1] = 0, 0
        size = np.trace(A) / len(A) + penalty[0, 0]
        # A sample does not see the curvature of some directions, which must not count as 0.
        jitter = size * (1e-6 if sampled else 1e-12)
        while True:
            B = A.copy()
            B.flat[:: len(B) + 1] += penalty[:, 0] + jitter
            B = B.astype(dtype, order="F", copy=False)
            try:
                found.append(cho_factor(B, overwrite_a=True, check_finite=False))
                break
            except LinAlgError:
                jitter *= 100
    return found
