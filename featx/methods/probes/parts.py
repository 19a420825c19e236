"""What probes compute from the training rows of one fold, each piece once, when it is first needed.

These are standardised rows, their scatter matrix, principal axes and coordinates. The axes of all sizes come
from one eigendecomposition. Moments come from sums over folds (`featx.methods.probes.fold_moments`) that
other folds share.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from featx.methods.probes.fitted_steps import make_pca, make_scaler, orient_axes
from featx.methods.probes.fold_moments import FoldMoments, standardise

if TYPE_CHECKING:
    from featx.methods.probes.training_rows import TrainingRows

#: Most principal components that any probe of the catalogue asks for.
MOST_COMPONENTS = 256
# Squared lengths below this share of the largest are rounding errors of float32 rows.
_RANK = 1e-10


class Part:
    """The training rows of a fold in standardised form, and the rows held out.

    Attributes
    ----------
    train, held_out : ndarray of int
        Positions of the training rows (n,) and of the rows held out (m,).
    y, codes : ndarray of shape (n,)
        Labels or numbers of the training rows, and positions of the labels in `classes`.
    classes : ndarray of shape (n_classes,)
    seed : int
    products : Products
    """

    def __init__(self, source: TrainingRows, train: np.ndarray, held: np.ndarray):
        self.source, self.train, self.held_out = source, train, held
        self.y, self.codes, self.classes = source.y[train], source.codes[train], source.classes
        self.seed, self.task, self.products = source.seed, source.task, source.products
        self.fewest = len(train)
        self._sums: tuple[FoldMoments, tuple[int, ...]] | None = None
        # Probes run in threads; several may ask for the same part.
        self._lock = threading.RLock()

    def take_sums(self, sums: FoldMoments, out: tuple[int, ...]) -> None:
        """Compute moments from the sums over folds, of which `out` are not trained on."""
        with self._lock:
            self._sums = self._sums or (sums, out)

    @property
    def sums(self) -> tuple[FoldMoments, tuple[int, ...]]:
        """Sums over folds, and the folds that are not trained on."""
        with self._lock:
            if self._sums is None:
                source, n = self.source, len(self.source)
                out = source.sums.find(self.held_out) if self._is_complete else None
                if out is not None:
                    self._sums = source.sums, out
                else:
                    rest = np.setdiff1d(np.arange(n), self.train)
                    folds = [self.train, rest] if len(rest) else [self.train]
                    self._sums = source.sums_of(folds), tuple(range(1, len(folds)))
            return self._sums

    @property
    def _is_complete(self) -> bool:
        return len(self.train) + len(self.held_out) == len(self.source)

    @property
    def raw(self) -> np.ndarray:
        """The training rows as they were given, (n, d)."""
        X = self.source.X
        return X if len(self.train) == len(X) else X[self.train]

    @property
    def raw_held(self) -> np.ndarray:
        """The held rows as they were given, (m, d)."""
        return self.source.X[self.held_out]

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the rows."""
        return self.source.X.dtype

    @property
    def dim(self) -> int:
        """The number of features."""
        return self.source.X.shape[1]

    @property
    def scaler(self) -> StandardScaler:
        """The fitted scaler."""
        with self._lock:
            return self._scaler

    @cached_property
    def _scaler(self) -> StandardScaler:
        sums, out = self.sums
        return make_scaler(*sums.mean_and_variance(out), len(self.train))

    @property
    def rows(self) -> np.ndarray:
        """Standardised training rows (n, d), of the dtype of the rows."""
        with self._lock:
            return self._rows

    @cached_property
    def _rows(self) -> np.ndarray:
        sums, out = self.sums
        if len(self.train) == len(self.source) and not out:
            return sums.rows
        return self._standardise(self.raw)

    @property
    def held(self) -> np.ndarray:
        """Held rows (m, d), standardised by mean and deviation of the training rows."""
        with self._lock:
            return self._held

    @cached_property
    def _held(self) -> np.ndarray:
        return self._standardise(self.raw_held)

    def _standardise(self, raw: np.ndarray) -> np.ndarray:
        # Rows taken from others are a copy already.
        copied = None if raw is self.source.X else raw
        return standardise(raw, self.scaler.mean_, self.scaler.scale_, copied)

    @property
    def scatter(self) -> np.ndarray:
        """X^T X of the standardised training rows, (d, d) float64, added up at each call."""
        sums, out = self.sums
        return sums.scatter(out, self.scaler.mean_, self.scaler.scale_, lambda: self.rows)

    def class_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers (k,) and sums (k, d), float64, of the standardised training rows of each class."""
        sums, out = self.sums
        counts, offset = sums.outside(out, "counts"), (self.scaler.mean_ - sums.centre) / self.scaler.scale_
        return counts, sums.outside(out, "sums") / self.scaler.scale_ - counts[:, None] * offset

    def class_squares(self) -> np.ndarray:
        """Return sums of squares (k, d), float64, of the standardised training rows of each class."""
        (sums, out), (counts, own) = self.sums, self.class_sums()
        offset = (self.scaler.mean_ - sums.centre) / self.scaler.scale_
        squares = sums.outside(out, "squares") / self.scaler.scale_**2
        # sum z^2 = sum (z + o)^2 - 2 o sum z - n o^2, where z + o is what was summed, scaled.
        return np.maximum(squares - offset * (2 * own + counts[:, None] * offset), 0)

    def cross(self) -> np.ndarray:
        """Return the sum of (y - mean) x over the standardised training rows (d,), for numbers y."""
        sums, out = self.sums
        mean, total = self.y.mean() - self.source.y.mean(), sums.outside(out, "sums").sum(axis=0)
        return (sums.outside(out, "cross") - mean * total) / self.scaler.scale_

    @property
    def kernel(self) -> np.ndarray:
        """X X^T of the standardised training rows, (n, n) float64: smaller than `scatter` for few rows."""
        with self._lock:
            return self._kernel

    @cached_property
    def _kernel(self) -> np.ndarray:
        rows = self.rows.astype(np.float64)
        return self.products.multiply(rows, rows.T)

    def projected(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first `k` principal coordinates of the training rows (n, k) and of the held rows."""
        if k > MOST_COMPONENTS:
            return self._project(self.axes(k)[0][:k])
        with self._lock:
            rows, held = self._coordinates
        return rows[:, :k], held[:, :k]

    @cached_property
    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        return self._project(self.axes(MOST_COMPONENTS)[0])

    def _project(self, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        multiply, (sums, out) = self.products.multiply, self.sums
        if not self._is_complete or len(sums.near_constant(out)):
            return multiply(self.rows, axes.T), multiply(self.held, axes.T)
        # The folds have their rows in common, but for shift and scale.
        shift, factor = sums.place(self.scaler.mean_, self.scaler.scale_)
        scaled = axes * factor
        found = multiply(sums.rows, scaled.astype(self.dtype).T)
        found -= (scaled @ shift).astype(self.dtype)
        return (found[self.train] if len(self.held_out) else found), found[self.held_out]

    def pca(self, k: int) -> PCA:
        """Return a fitted PCA with `k` components of the standardised training rows."""
        (axes, variances), n = self.axes(k), len(self.train)
        total = float((self.scaler.var_ / self.scaler.scale_**2).sum()) * n / max(n - 1, 1)
        return make_pca(axes[:k], variances[:k], total, n, self.seed)

    def axes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return at least `k` principal axes (k, d) and the variances along them, the largest first.

        There are as many as rows or features at most.
        """
        with self._lock:
            return self._leading_axes if k <= MOST_COMPONENTS else self._all_axes

    @cached_property
    def _leading_axes(self) -> tuple[np.ndarray, np.ndarray]:
        # Single precision takes half the time, and finds them to 1e-6, the precision of float32 rows.
        k = min(MOST_COMPONENTS, self.dim, len(self.train))
        return self._decompose(k, np.float32 if self.dtype == np.float32 else np.float64)

    @cached_property
    def _all_axes(self) -> tuple[np.ndarray, np.ndarray]:
        return self._decompose(min(self.dim, len(self.train)), np.float64)

    def _decompose(self, k: int, precision: Any) -> tuple[np.ndarray, np.ndarray]:
        n, d, dtype = len(self.train), self.dim, self.dtype
        if n < d:
            values, U = self.products.eigh(self.kernel, k)
            values, U = values[::-1], U[:, ::-1]
            axes = self.products.multiply(self.rows.T, U.astype(dtype)).T
            # Centred rows span n - 1 directions: what is left of the last one is rounding errors.
            lengths = np.linalg.norm(axes, axis=1, keepdims=True)
            real = values[:, None] > _RANK * values[0]
            axes = np.divide(axes, lengths, out=np.zeros_like(axes), where=real & (lengths > 0))
        else:
            scatter = self.scatter.astype(precision, copy=False)
            values, V = self.products.eigh(scatter, k)
            values, axes = values[::-1].astype(np.float64), V[:, ::-1].T.astype(dtype)
        return orient_axes(axes), np.maximum(values, 0) / max(n - 1, 1)
