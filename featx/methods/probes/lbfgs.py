"""L2-regularised logistic regression by preconditioned L-BFGS, for many penalties on few rows.

Scikit-learn's objective (multinomial for three classes or more, binomial for two) with weights s_i::

    f(W, b) = sum_i s_i loss(y_i, x_i W + b) / S + ||W||^2 / (2 C S),        S = sum_i s_i

Derivation. Take the thin SVD X = U diag(d) V^T. The penalty keeps W in the row space: W = V A, X W =
(U diag(d)) A and ||W|| = ||A||, so the problem has at most r = min(n, p) rows of parameters. In these
coordinates the Hessian of the loss is about h diag(d^2 / n), h the mean of p (1 - p). Embeddings are strongly
correlated, so the d span orders of magnitude, and plain L-BFGS takes hundreds of steps. With A = D B,
D = 1 / sqrt(h d^2 / n + 1 / (C S)), the Hessian for B is close to the identity. The SVD is computed once for
all penalties, and each starts from the solution of the one before. The objective is strictly convex, so the
minimum is the one that scikit-learn finds.

`newton` solves the same problem to more digits, and for more rows than an SVD can handle. For choosing
settings this solver stays: on 5 folds and 9 penalties with 100 to 3,000 rows of 1,280 features, `newton`
takes 3 to 14 times as long (``python tests/benchmarks/bench_logistic_solvers.py``).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit

# h, for a model that is confident about most rows; it affects the speed only.
_CURVATURE = 0.05
_MAX_ITERATIONS = 1000


class LbfgsPath:
    """Solve for any number of penalties on one training set: rows `X` (n, p), labels `y` (n,).

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted labels, two or more.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray):
        self.classes, self._codes = np.unique(y, return_inverse=True)
        n, p = X.shape
        # Centring changes the intercept only, and makes it independent of the weights.
        self._mean = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
        centred = X - self._mean
        if n <= p:
            squares, U = eigh((centred @ centred.T).astype(np.float64))
            keep = squares > squares[-1] * 1e-7
            d = np.sqrt(squares[keep])
            features = U[:, keep] * d
            self._basis = (centred.T @ (U[:, keep] / d).astype(X.dtype)).astype(np.float64)
        else:
            squares, V = eigh((centred.T @ centred).astype(np.float64))
            keep = squares > squares[-1] * 1e-7
            d = np.sqrt(squares[keep])
            self._basis = V[:, keep]
            features = centred @ self._basis.astype(X.dtype)
        self._features = np.ascontiguousarray(features, dtype=np.float32)
        self._squares = d**2
        columns = 1 if len(self.classes) == 2 else len(self.classes)
        self._B = np.zeros((len(d), columns))
        self._b = np.zeros(columns)
        self._D = np.ones(len(d))

    def solve(
        self, C: float, *, sample_weight: np.ndarray | None = None, tol: float = 1e-4
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (1 or n_classes, p) and intercepts for one penalty, starting from the last one.

        It stops when every entry of the gradient, in the scaled coordinates, is below `tol`.
        """
        n, columns = len(self._codes), len(self._b)
        s = np.full(n, 1.0) if sample_weight is None else np.asarray(sample_weight, np.float64)
        share = (s / s.sum())[:, None]
        penalty = 1.0 / (C * s.sum())
        D = 1.0 / np.sqrt(_CURVATURE * self._squares / n + penalty)
        scaled = self._features * D.astype(np.float32)
        ridge = (penalty * D**2)[:, None]
        target = self._codes[:, None].astype(np.float64) if columns == 1 else np.eye(columns)[self._codes]
        rows = np.arange(n)

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            B, b = flat[:-columns].reshape(-1, columns), flat[-columns:]
            z = (scaled @ B.astype(np.float32)).astype(np.float64) + b
            if columns == 1:
                loss = np.logaddexp(0, z) - target * z
                error = expit(z) - target
            else:
                z -= z.max(axis=1, keepdims=True)
                exps = np.exp(z)
                total = exps.sum(axis=1, keepdims=True)
                loss = np.log(total) - z[rows, self._codes][:, None]
                error = exps / total - target
            error *= share
            gradient = (scaled.T @ error.astype(np.float32)).astype(np.float64) + ridge * B
            value = float((share * loss).sum() + 0.5 * (ridge * B**2).sum())
            return value, np.concatenate([gradient.ravel(), error.sum(axis=0)])

        start = self._B * (self._D / D)[:, None]
        found = minimize(
            objective,
            np.concatenate([start.ravel(), self._b]),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": tol, "ftol": 1e-10, "maxiter": _MAX_ITERATIONS, "maxcor": 20},
        )
        self._B, self._b, self._D = found.x[:-columns].reshape(-1, columns), found.x[-columns:], D
        self.evaluations = found.nfev
        coef = (self._basis @ (D[:, None] * self._B)).T
        return coef, self._b - coef @ self._mean
