"""Moments of all rows but those of some folds, from sums over the rows of each fold.

Each row is in one fold, so that the sums over the training rows of a fold are those of the other folds: with
five folds, each row is read once and not four times. Means and variances are sums of x - c in double
precision, where c is a row near the middle of the rows. Scatter matrices are products of rows that are
standardised by the mean and deviation of all rows, and are brought to those of the training rows; features
that hardly vary outside a fold are computed from the rows. Up to rounding errors, both are equal to what the
training rows alone would give.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from scipy.sparse import csr_array

from featx.methods.probes.fitted_steps import make_scaler
from featx.methods.probes.products import ON_CPU, Products

R = TypeVar("R")

# Variances below this share of those of all rows are not taken from sums over all features at once.
_LEAST_VARIANCE = 1e-2
# Values converted to double precision at a time: they stay in the processor's cache.
_BLOCK = 1 << 17
# Rows whose median is the centre; odd, so that it is a value that occurs and a constant feature becomes 0.
_FOR_CENTRE = 33


class Sums(NamedTuple):
    """Sums over rows x - c, by class: numbers of rows (k,), sums (k, d), of squares (k, d), of y x (d,)."""

    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    cross: np.ndarray


class FoldMoments:
    """Moments of all rows but those of some folds; each sum is computed when it is first needed.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows as they were given.
    folds : sequence of ndarray
        Positions of the rows of each fold; every row is in one.
    codes : ndarray of shape (n,), int, optional
        Class of each row; without them all rows are of one class.
    n_classes : int, default=1
    numbers : ndarray of shape (n,), optional
        Targets of a regression.
    products : Products, optional
    """

    def __init__(
        self,
        X: np.ndarray,
        folds: Sequence[np.ndarray],
        codes: np.ndarray | None = None,
        n_classes: int = 1,
        numbers: np.ndarray | None = None,
        products: Products = ON_CPU,
    ):
        self._X, self._folds, self._products = X, folds, products
        self._codes = np.zeros(len(X), np.int64) if codes is None else codes
        self._n_classes = n_classes
        self._numbers = None if numbers is None else numbers - numbers.mean()
        self._of = np.zeros(len(X), np.int64)
        for f, held in enumerate(folds):
            self._of[held] = f
        self._lock = threading.RLock()
        self._of_all_classes: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._outside: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._sums = _Each(self._sum_fold, len(folds))
        self._scatters = _Each(self._multiply_fold, len(folds))

    def find(self, rows: np.ndarray) -> tuple[int, ...] | None:
        """Return the folds that rows make up, or None if they are not whole folds."""
        found = np.unique(self._of[rows])
        return tuple(found.tolist()) if sum(len(self._folds[f]) for f in found) == len(rows) else None

    def outside(self, out: tuple[int, ...], name: str) -> np.ndarray:
        """Return the field `name` of the `Sums` over all rows but those of some folds, of x - `centre`."""
        each = self._sums.all(first=out[0] if out else 0)
        return np.sum([getattr(sums, name) for f, sums in enumerate(each) if f not in out], axis=0)

    def mean_and_variance(self, out: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return means (d,) and variances (d,) of all rows but those of some folds, float64."""
        mean, variance, near = self._from_sums(out)
        if len(near):
            mean, variance = mean.copy(), variance.copy()
            mean[near], variance[near] = mean_and_variance(self._X[np.ix_(self._train(out), near)])
        return mean, variance

    def near_constant(self, out: tuple[int, ...]) -> np.ndarray:
        """Return the features that hardly vary outside some folds, relative to all rows."""
        return self._from_sums(out)[2]

    @property
    def rows(self) -> np.ndarray:
        """All rows standardised by their mean and deviation, (n, d), of the dtype of the rows."""
        with self._lock:
            return self._rows

    def place(self, mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return shift (d,) and factor (d,) with (x - mean) / scale = (row - shift) factor, for `rows`."""
        own_mean, own_scale = self._standard
        return (mean - own_mean) / own_scale, own_scale / scale

    def scatter(
        self, out: tuple[int, ...], mean: np.ndarray, scale: np.ndarray, rows: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Return X^T X (d, d) of all rows but those of some folds, standardised by `mean` and `scale`.

        `rows` returns these rows, standardised.
        """
        each = self._scatters.all(first=out[0] if out else 0)
        kept = [scatter for f, scatter in enumerate(each) if f not in out]
        shift, factor = self.place(mean, scale)
        n, d = len(self._X) - sum(len(self._folds[f]) for f in out), len(shift)
        found, step = np.empty((d, d)), max(1, _BLOCK // d)
        for at in range(0, d, step):
            some = slice(at, at + step)
            block = found[some]
            block[:] = kept[0][some]
            for scatter in kept[1:]:
                block += scatter[some]
            block -= np.outer(n * shift[some], shift)
            block *= factor
            block *= factor[some, None]
        near = self.near_constant(out)
        if len(near):
            own = rows()
            found[near] = own[:, near].T @ own
            found[:, near] = found[near].T
        return found

    @cached_property
    def centre(self) -> np.ndarray:
        """What is subtracted from each row before it is summed, (d,) float64."""
        some = self._X[np.linspace(0, len(self._X) - 1, _FOR_CENTRE).astype(np.int64)]
        # The median; numpy's takes several times as long.
        return np.partition(some, _FOR_CENTRE // 2, axis=0)[_FOR_CENTRE // 2].astype(np.float64)

    def _from_sums(self, out: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return means and variances (d,) by the sums, and the features for which they are not exact."""
        if out not in self._outside:
            counts, sums, squares = self._totals(out[0] if out else 0)
            kept = [f for f in range(len(counts)) if f not in out]
            n = counts[kept].sum()
            offset = sums[kept].sum(axis=0) / n
            variance = np.maximum(squares[kept].sum(axis=0) / n - offset**2, 0)
            near = np.flatnonzero(variance < _LEAST_VARIANCE * squares.sum(axis=0) / counts.sum())
            self._outside[out] = self.centre + offset, variance, near
        return self._outside[out]

    def _totals(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return numbers of rows (n_folds,), sums and sums of squares (n_folds, d) of each fold."""
        if self._of_all_classes is None:
            each = self._sums.all(first)
            counts = np.array([sums.counts.sum() for sums in each])
            sums, squares = (np.stack([s[i].sum(axis=0) for s in each]) for i in (1, 2))
            self._of_all_classes = counts, sums, squares
        return self._of_all_classes

    def _train(self, out: tuple[int, ...]) -> np.ndarray:
        return np.flatnonzero(~np.isin(self._of, out))

    def _sum_fold(self, f: int) -> Sums:
        k, d = self._n_classes, self._X.shape[1]
        found = Sums(np.zeros(k, np.int64), np.zeros((k, d)), np.zeros((k, d)), np.zeros(d))
        step = max(1, _BLOCK // d)
        for at in range(0, len(self._folds[f]), step):
            place = self._folds[f][at : at + step]
            n, codes = len(place), self._codes[place]
            x = self._X[place].astype(np.float64)
            x -= self.centre
            by_class = csr_array((np.ones(n), codes, np.arange(n + 1)), (n, k)).T
            found.counts[:] += np.bincount(codes, minlength=k)
            found.sums[:] += by_class @ x
            if self._numbers is not None:
                found.cross[:] += self._numbers[place] @ x
            found.squares[:] += by_class @ np.square(x, out=x)
        return found

    def _multiply_fold(self, f: int) -> np.ndarray:
        return self._products.scatter(self.rows[self._folds[f]])

    @cached_property
    def _standard(self) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = self.mean_and_variance(())
        return mean, make_scaler(mean, variance, len(self._X)).scale_

    @cached_property
    def _rows(self) -> np.ndarray:
        return standardise(self._X, *self._standard)


class _Each(Generic[R]):
    """What a function returns for 0 to n - 1, each computed once; threads that ask share the work."""

    def __init__(self, work: Callable[[int], R], n: int):
        self._work = work
        self._locks = [threading.Lock() for _ in range(n)]
        self._found: dict[int, R] = {}

    def all(self, first: int = 0) -> list[R]:
        """Return what the function returns for all, starting with `first`."""
        n = len(self._locks)
        # First what no other thread is at; then wait for them.
        for wait in (False, True):
            for i in ((first + j) % n for j in range(n)):
                if i in self._found or not self._locks[i].acquire(blocking=wait):
                    continue
                try:
                    if i not in self._found:
                        self._found[i] = self._work(i)
                finally:
                    self._locks[i].release()
        return [self._found[i] for i in range(n)]


def standardise(X: np.ndarray, mean: np.ndarray, scale: np.ndarray, out: np.ndarray | None = None):
    """Return (X - mean) / scale, computed in the dtype of the rows (n, d)."""
    found = np.empty_like(X) if out is None else out
    mean, scale = mean.astype(X.dtype), scale.astype(X.dtype)
    step = max(1, _BLOCK // X.shape[1])
    for at in range(0, len(X), step):
        block = np.subtract(X[at : at + step], mean, out=found[at : at + step])
        block /= scale
    return found


def mean_and_variance(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means (d,) and variances (d,) of rows (n, d), computed in float64 as StandardScaler does."""
    X = X.astype(np.float64)
    mean = X.mean(axis=0)
    X -= mean
    # The second term corrects rounding errors of the mean (Chan, Golub and LeVeque 1983, eq. 1.7).
    return mean, (np.einsum("ij,ij->j", X, X) - X.sum(axis=0) ** 2 / len(X)) / len(X)
