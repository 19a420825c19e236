"""Solve a linear classifier with an L2 penalty on several folds at once, by Newton's method.

It fits the probes `logreg` and `svm`, and judges labels; for many penalties on one training set see `newton`.

The folds are problems of one kind that take about the same number of steps. A product of rows with the
coefficients of 10 classes keeps a processor less busy than one with those of 5 folds and 10 classes
(`fold_rows`). For each fold f with weights s_fi, the objective is that of scikit-learn::

    F_f(W, b) = sum_i s_fi loss(y_i, W x_fi + b) + ||W||^2 / (2 C)

Each step minimises the quadratic model of F by conjugate gradients (Nocedal and Wright, "Numerical
Optimization", 2006, section 7.1), and ends when the last product gained only a small share of the whole gain.
The preconditioner is the diagonal of the Hessian along the principal axes v_j of the rows, with the
curvatures h_ic of the rows for class c: sum_i h_ic (v_j x_i)^2 + 1 / C. If all rows had the same curvature,
the Hessian would be diagonal there. The decrease that the model predicts is the criterion to stop, relative
to F. Step lengths, gains and the end of the descent are those of each fold, and a fold that has come to its
end takes no part in products.

From penalty to penalty, strong to weak, the solution is a smooth function of log C: each fold starts from the
line through its own two last solutions, or from the last one where F is lower there. It does not start from
that of another fold, which has seen the rows that this fold holds out: with a loose tolerance its score would
be too good.
"""

from __future__ import annotations

import numpy as np

from featx.methods.probes.fold_losses import FoldLoss
from featx.methods.probes.fold_rows import Block, FoldRows

# Relative rounding error of the objective.
_NOISE = {"f": 1e-6, "d": 1e-13}
_FEWEST_CG, _MOST_CG = 2, 100


class FoldNewton:
    """Solve for any number of penalties on several folds, fastest in order from strong to weak.

    Parameters
    ----------
    rows : FoldRows
    loss : FoldLoss
    penalised : bool, default=False
        Whether the penalty includes the intercept.
    """

    def __init__(self, rows: FoldRows, loss: FoldLoss, *, penalised: bool = False):
        self._rows, self._loss, self._penalised = rows, loss, penalised
        # The last two penalties with their solutions, the newest first.
        self._past: list[tuple[float, np.ndarray, np.ndarray]] = []
        self._losses = np.zeros(rows.shape[0])

    def solve(self, C: float, *, tol: float, max_iter: int = 100) -> tuple[np.ndarray, np.ndarray, int, bool]:
        """Return coefficients (F, k, p), intercepts (F, k), Newton steps, and whether all converged.

        A fold is done when the model predicts a further decrease of at most `tol` times its objective.
        """
        with self._rows.in_threads():
            return self._solve(C, tol, max_iter)

    def _solve(self, C: float, tol: float, max_iter: int) -> tuple[np.ndarray, np.ndarray, int, bool]:
        penalty = self._loss.penalty / C
        W, b, value, gW, gb = self._begin(C, penalty)
        active = np.ones(len(W), bool)
        converged = np.zeros(len(W), bool)
        noise_share = _NOISE[self._rows.dtype.char]
        n_iter = 0
        while n_iter < max_iter and active.any():
            n_iter += 1
            sW, sb, gain = self._step(gW, gb, penalty, active, tol * value)
            close = gain <= tol * value
            # Where rounding errors end the descent, their size is the tolerance.
            converged |= active & (gain <= np.maximum(tol, noise_share) * value)
            slope = -(_dots(gW, sW) + (gb * sb).sum(axis=1))
            t = np.where(active, 1.0, 0.0)
            noise = noise_share * np.abs(value)
            for _ in range(30):
                newW, newb = W + t[:, None, None] * sW, b + t[:, None] * sb
                found = self._value(newW, newb, penalty, active)
                worse = active & (found[0] > value - 1e-4 * t * slope + noise)
                if not worse.any():
                    break
                t = np.where(worse, t / 3, t)
                t[worse & (t * slope < noise)] = 0
            W, b = newW, newb
            value, gW, gb = _choose(active, found, (value, gW, gb))
            active &= ~close & (t > 0)
        self._past = [(C, W, b), *self._past][:2]
        return W, b, n_iter, bool(converged.all())

    def _begin(self, C: float, penalty: float):
        """Return where to start, and the values and gradients there."""
        everything = np.ones(self._rows.shape[0], bool)
        if not self._past:
            F, _, p = self._rows.shape
            W, b = np.zeros((F, self._loss.columns, p)), np.zeros((F, self._loss.columns))
            return W, b, *self._value(W, b, penalty, everything)
        _, W, b = self._past[0]
        if len(self._past) == 1 or self._past[0][0] == self._past[1][0]:
            return W, b, *self._value(W, b, penalty, everything)
        last = self._penalised_value(self._losses, W, b, penalty)
        (newest, *_), (older, olderW, olderb) = self._past
        far = np.log(C / newest) / np.log(newest / older)
        newW, newb = W + far * (W - olderW), b + far * (b - olderb)
        found = self._value(newW, newb, penalty, everything)
        better = found[0] <= last
        if not better.all():
            newW, newb = _choose(better, (newW, newb), (W, b))
            found = self._value(newW, newb, penalty, everything)
        return newW, newb, *found

    def _value(self, W, b, penalty, active):
        """Return values (F,) and gradients; those of folds that are not `active` mean nothing."""
        dtype = self._rows.dtype
        losses = np.zeros((len(self._rows.blocks), len(W)))

        def respond(z, block: Block, folds: np.ndarray):
            losses[block.index, folds], E = self._loss.errors(z, block, folds)
            return E

        gW, gb = self._rows.sums(W.astype(dtype), b.astype(dtype), respond, active)
        self._losses = np.where(active, losses.sum(axis=0), self._losses)
        gW = gW.astype(np.float64) + penalty * W
        if self._penalised:
            gb += penalty * b
        return self._penalised_value(self._losses, W, b, penalty), gW, gb

    def _penalised_value(self, losses, W, b, penalty):
        squares = _dots(W, W)
        if self._penalised:
            squares = squares + (b * b).sum(axis=1)
        return losses + penalty * squares / 2

    def _step(self, gW, gb, penalty, active, enough):
        """Return approximate minima of the quadratic models, (F, k, p) and (F, k), and the decreases (F,)."""
        dtype = self._rows.dtype
        curvature, along = self._rows.curvature(self._loss.curvature)
        own = penalty if self._penalised else 0.0
        # The intercept sees every row as 1.
        divisor = np.maximum(np.maximum(curvature, 1e-12 * self._loss.totals[:, None]) + own, 1e-30)

        def divide(rW, rb):
            return self._rows.divide(rW, along, penalty), self._loss.centre(rb / divisor)

        sW, sb = np.zeros(gW.shape, dtype), np.zeros(gb.shape)
        rW, rb = -gW.astype(dtype), -gb
        pW, pb = divide(rW, rb)
        rho = _dots(rW, pW) + (rb * pb).sum(axis=1)
        fallen = np.zeros(len(gb))
        going = active & (rho > 0)
        for i in range(_MOST_CG):
            if not going.any():
                break
            hW, hb = self._rows.sums(pW, pb.astype(dtype), self._loss.hessian, going)
            hW += dtype.type(penalty) * pW
            hb += own * pb
            bend = _dots(pW, hW) + (pb * hb).sum(axis=1)
            going &= bend > 0
            a = np.where(going, rho / np.where(going, bend, 1), 0)
            aW = a.astype(dtype)[:, None, None]
            sW += aW * pW
            sb += a[:, None] * pb
            rW -= aW * hW
            rb -= a[:, None] * hb
            gained = a * rho / 2
            fallen += gained
            share = np.where(fallen > 100 * enough, 0.1, np.where(fallen > enough, 0.05, 0.2))
            if i + 1 >= _FEWEST_CG:
                going &= gained >= share * fallen
            if not going.any():
                break
            qW, qb = divide(rW, rb)
            new = _dots(rW, qW) + (rb * qb).sum(axis=1)
            going &= new > 0
            c = np.where(going, new / np.where(rho > 0, rho, 1), 0)
            pW = qW + c.astype(dtype)[:, None, None] * pW
            pb = qb + c[:, None] * pb
            rho = new
        return sW, sb, fallen


def _choose(mask: np.ndarray, where_true, where_false):
    """Return, of two tuples of arrays (F, ...), those of the one or the other for each fold."""
    if mask.all():
        return where_true
    pairs = zip(where_true, where_false, strict=True)
    return tuple(np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs)


def _dots(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return the inner product of each fold, (F,) float64."""
    return np.array([np.vdot(a, b) for a, b in zip(A, B, strict=True)], np.float64)
