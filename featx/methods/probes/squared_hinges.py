"""Solve linear machines with a squared hinge loss on the same rows: all classes and penalties at once.

For machine j with targets y_ji = -1 or 1 and weights s_ji, the objective is that of scikit-learn's LinearSVC,
which penalises the intercept (a feature of ones)::

    F_j(w) = sum_i s_ji max(0, 1 - y_ji w.x_i)^2 + ||w||^2 / (2 C_j)

It fits the machines of a Nystroem map (`fitters.kernels`), whose features are hardly correlated; the linear
SVM on embeddings is solved by `newton_folds`, with the loss `fold_losses.SquaredHinge`.

A product of rows with 50 machines takes about twice as long as one with 10, measured on a core with AVX-512.
All machines therefore descend side by side, each with its own directions and step lengths, and leave when
they are done. They descend along conjugate gradients (Polak and Ribiere; Nocedal and Wright, "Numerical
Optimization", 2006, equation 5.45), preconditioned by the diagonal of a Hessian in which the active rows
have the mean squares of all rows. The scores are linear in the step length, so the best one takes no further
product with the rows: an iteration takes two, where Newton's method spends several on each quadratic model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike
from scipy.linalg import eigh
from sklearn.utils.class_weight import compute_class_weight

from featx.methods.probes.products import ON_CPU, Products

# Most scores in memory at once; more machines than that are solved in turn.
_MOST_SCORES = 4_000_000
# The leading features of a kernel correlate with the ones. So many of the last features, the ones included,
# are therefore rotated to the principal axes of the rows.
_ROTATED = 64
# About so many rows are used to estimate the mean squares of the features.
_SOME = 512
# Share of the slope at the start at which a step length is found, and most attempts.
_SLOPE, _MOST_LENGTHS = 0.1, 20


@dataclass(frozen=True)
class Solution:
    """Coefficients (n_machines, n_features), the most iterations of a machine, and whether all converged."""

    coef: np.ndarray
    n_iter: int
    converged: bool


def sign_classes(
    codes: np.ndarray, n_classes: int, class_weight: object = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Return y_ji sqrt(s_ji), (n_columns, n), of each class against the rest; two classes are one column.

    As in LinearSVC (liblinear), with three classes or more the weight of a class counts only in the machine
    of the class, where the rest has weight 1.
    """
    columns = np.arange(1, 2) if n_classes == 2 else np.arange(n_classes)
    positive = columns[:, None] == codes
    weights = np.ones(n_classes)
    if class_weight is not None:
        weights = compute_class_weight(class_weight, classes=np.arange(n_classes), y=codes)
    roots = np.sqrt(weights).astype(dtype)[codes]
    return np.where(positive, roots, -roots if n_classes == 2 else -np.ones_like(roots))


def solve_hinges(
    X: np.ndarray,
    basis: np.ndarray,
    signed: np.ndarray,
    C: Sequence[float] | np.ndarray,
    *,
    tol: float,
    max_iter: int = 1000,
    products: Products = ON_CPU,
) -> Solution:
    """Solve machines on the same rows.

    Parameters
    ----------
    X : ndarray of shape (n, q)
    basis : ndarray of shape (q, p)
        The rows are X basis, which is never computed: a product with few machines takes two smaller ones.
        Their features are hardly correlated, the largest ones last, and then ones.
    signed : ndarray of shape (n_machines, n)
        y_ji sqrt(s_ji).
    C : sequence of shape (n_machines,)
    tol : float
        A machine is done when the preconditioned gradient predicts a further decrease of at most `tol` times
        its objective.
    max_iter : int, default=1000
        Maximum number of iterations of each machine.
    products : Products, default=ON_CPU
        What computes the products with the rows.

    Returns
    -------
    Solution
    """
    last = slice(-_ROTATED, None)
    some = X[:: max(1, len(X) // _SOME)] @ basis
    rotation = eigh(some[:, last].T @ some[:, last], driver="evd", check_finite=False)[1]
    some[:, last] = some[:, last] @ rotation
    squares = np.einsum("np,np->p", some, some) / len(some)
    basis = np.hstack([basis[:, :-_ROTATED], basis[:, last] @ rotation])
    rows = products.keep(X, basis, len(signed))
    penalties = (1 / np.asarray(C)).astype(X.dtype)[:, None]
    step = max(1, _MOST_SCORES // len(X))
    found = [
        _solve(
            rows,
            squares,
            signed[at : at + step].astype(X.dtype, copy=False),
            penalties[at : at + step],
            tol,
            max_iter,
        )
        for at in range(0, len(signed), step)
    ]
    coef = np.concatenate([each.coef for each in found])
    coef[:, last] = coef[:, last] @ rotation.T
    return Solution(
        coef,
        max(each.n_iter for each in found),
        all(each.converged for each in found),
    )


def _solve(rows, squares, signed, penalties, tol, max_iter) -> Solution:
    W = np.zeros((len(signed), len(squares)), signed.dtype)
    coef, live = W.copy(), np.arange(len(W))
    # sqrt(s) (1 - y w.x): rows above 0 are active.
    left = np.abs(signed)
    along, last_gradient, last_decrease = W, W, np.ones(len(W), W.dtype)
    for n_iter in range(max_iter):
        errors = np.maximum(left, 0)
        losses = _dots(errors, errors) + penalties[:, 0] * _dots(W, W) / 2
        active = 2 * np.einsum("jn,jn,jn->j", signed, signed, errors > 0)[:, None]
        errors *= signed
        gradient = penalties * W - 2 * rows.sum_rows(errors)
        downhill = -gradient / (active * squares + penalties)
        decrease = -_dots(gradient, downhill)
        going = decrease > 2 * tol * losses
        if not going.all():
            coef[live] = W
            if not going.any():
                return Solution(coef, n_iter, True)
            live, W, left, signed, penalties = (a[going] for a in (live, W, left, signed, penalties))
            gradient, downhill, decrease = gradient[going], downhill[going], decrease[going]
            along, last_gradient, last_decrease = along[going], last_gradient[going], last_decrease[going]
        # Steepest descent at first, and where the conjugate direction has lost its sense.
        share = np.maximum(decrease + _dots(downhill, last_gradient), 0) / last_decrease
        along = downhill + share[:, None] * along
        last_gradient, last_decrease = gradient, decrease
        change = -signed * rows.scores(along)
        slope, bend = penalties[:, 0] * _dots(W, along), penalties[:, 0] * _dots(along, along)
        t = _search_lengths(left, change, slope, bend)[:, None]
        W = W + t * along
        left += t * change
    coef[live] = W
    return Solution(coef, max_iter, False)


def _search_lengths(left: np.ndarray, change: np.ndarray, slope: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Return the lengths t (J,) that minimise sum_i max(0, left + t change)^2 + slope t + bend t^2 / 2.

    The derivative is piecewise linear and rises. Newton's method finds its root; where a step leaves the
    interval in which the root must be, it is halved.
    """
    t, low = np.zeros_like(slope), np.zeros_like(slope)
    high, enough = np.full_like(slope, np.inf), None
    for _ in range(_MOST_LENGTHS):
        errors = left + t[:, None] * change
        moved = np.where(errors > 0, change, 0)
        first = 2 * _dots(errors, moved) + slope + t * bend
        if enough is None:
            enough = _SLOPE * np.abs(first)
        elif (np.abs(first) <= enough).all():
            break
        low, high = np.where(first < 0, t, low), np.where(first > 0, t, high)
        t = t - first / (2 * _dots(moved, moved) + bend)
        outside = (t < low) | (t > high)
        t[outside] = (low[outside] + high[outside]) / 2
    return t


def _dots(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return the inner products of the rows of A and B, (J,)."""
    return np.einsum("ij,ij->i", A, B)
