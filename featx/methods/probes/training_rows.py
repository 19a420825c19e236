"""Training rows, and the work on them that probes share: each piece is done once, when it is first needed.

Every probe standardises the rows, most take principal components, and all choose their settings on the same
folds. `TrainingRows` holds the rows of a split and its folds; a `Part` holds what is computed from the
training rows of one fold: standardised rows, their scatter matrix, principal axes and coordinates. The axes
of all sizes come from one eigendecomposition.

A `Part` is a function of rows and folds alone, so what a probe finds does not depend on which probes ran
before it.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from featx.methods.probes.fold_moments import FoldMoments, mean_and_variance, sum_of_products
from featx.methods.probes.folds import Folds, fewest_rows
from featx.methods.probes.targets import target_of

if TYPE_CHECKING:
    from featx.methods.probes.block_moments import BlockMoments

#: Settings are selected on a sample of this size if there are more rows.
SELECTION_ROWS = 4000
#: Most principal components that any probe of the catalogue asks for.
MOST_COMPONENTS = 256


class TrainingRows:
    """The training rows of a split, and what probes compute from them, each once.

    Parameters
    ----------
    X : ndarray or RowBlocks of shape (n, d), float32 or float64
        Finite rows, not copied.
    y : ndarray of shape (n,)
        Labels, or numbers.
    groups : ndarray of shape (n,), int, optional
    task : {"classes", "numbers"}, default="classes"
    seed : int, default=0
        Seed of sample and folds.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted labels; empty for numbers.
    codes : ndarray of shape (n,), int
        Position of each label in `classes`.
    """

    def __init__(self, X, y, groups=None, *, task="classes", seed: int = 0):
        self.X, self.y, self.groups, self.task, self.seed = X, y, groups, task, seed
        self.classes, self.codes = np.empty(0), np.zeros(len(y), np.int64)
        if task == "classes":
            self.classes, self.codes = np.unique(y, return_inverse=True)
        self._parts: dict[bytes, Part] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def folds(self) -> Folds:
        """Folds of all rows to choose settings on; none where that is impossible."""
        return target_of(self.task, self.seed).folds(self.y, self.groups)

    @cached_property
    def sample(self) -> TrainingRows:
        """The rows on which settings are selected: all, or a sample of about 4,000 that can be folded."""
        if len(self) <= SELECTION_ROWS:
            return self
        drawn = target_of(self.task, self.seed).sample(self.y, SELECTION_ROWS)
        found = self.take(drawn)
        # If the sample leaves a class with one group it cannot be folded, and all rows are used.
        return found if found.folds else self

    @cached_property
    def moments(self) -> BlockMoments:
        """Sums over the rows of a large set (`X` is a `RowBlocks`), for all rows and all but one fold."""
        from featx.methods.probes.block_moments import BlockMoments

        return BlockMoments(self)

    def take(self, rows: np.ndarray) -> TrainingRows:
        """Return some of the rows, by position."""
        groups = None if self.groups is None else self.groups[rows]
        return TrainingRows(self.X[rows], self.y[rows], groups, task=self.task, seed=self.seed)

    def part(self, train: np.ndarray, held: np.ndarray) -> Part:
        """Return the part of a fold: the positions of its training rows and of those held out."""
        key = np.asarray(train, np.int64).tobytes() + b"|" + np.asarray(held, np.int64).tobytes()
        with self._lock:
            if key not in self._parts:
                self._parts[key] = Part(self, train, held)
            return self._parts[key]

    def parts(self, folds: Folds) -> list[Part]:
        """Return the part of each fold; all have as many components at most as the smallest has rows."""
        fewest = fewest_rows(folds)
        found = [self.part(train, held) for train, held in folds]
        whole, each = len(self), [held for _, held in folds]
        covered = len(np.unique(np.concatenate(each))) == sum(map(len, each)) == whole
        if covered and all(len(train) + len(held) == whole for train, held in folds):
            moments = FoldMoments(self.X, each)
            for i, part in enumerate(found):
                part.moments = part.moments or (moments, i)
        for part in found:
            part.fewest = min(part.fewest, fewest)
        return found

    @property
    def whole(self) -> Part:
        """The part whose training rows are all rows, with none held out."""
        return self.part(np.arange(len(self)), np.empty(0, np.int64))

    def forget(self, *, but_sample: bool = False) -> None:
        """Free what was computed for the folds."""
        with self._lock:
            self._parts.clear()
        sample = self.__dict__.get("sample")
        if sample is not None and sample is not self and not but_sample:
            sample.forget()


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
    """

    def __init__(self, source: TrainingRows, train: np.ndarray, held: np.ndarray):
        self.source, self.train, self.held_out = source, train, held
        self.y, self.codes, self.classes = source.y[train], source.codes[train], source.classes
        self.seed, self.task = source.seed, source.task
        self.fewest = len(train)
        # Sums over folds, and the fold of the held rows, where all rows are in the folds.
        self.moments: tuple[FoldMoments, int] | None = None
        self._projections: tuple[np.ndarray, np.ndarray] | None = None
        # Probes run in threads; several may ask for the same part.
        self._lock = threading.RLock()

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
        if self.moments is not None:
            moments, fold = self.moments
            mean, variance = moments.mean_and_variance(fold)
        else:
            mean, variance = mean_and_variance(self.raw)
        n, d = len(self.train), self.dim
        scaler = StandardScaler()
        scaler.mean_, scaler.var_, scaler.n_samples_seen_, scaler.n_features_in_ = mean, variance, n, d
        # Features that vary by rounding errors only are not scaled, as in scikit-learn.
        eps = np.finfo(np.float64).eps
        constant = variance <= n * eps * variance + (n * mean * eps) ** 2
        scaler.scale_ = np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))
        return scaler

    @property
    def rows(self) -> np.ndarray:
        """Standardised training rows (n, d), of the dtype of the rows."""
        with self._lock:
            return self._rows

    @cached_property
    def _rows(self) -> np.ndarray:
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
        rows = np.subtract(raw, self.scaler.mean_.astype(raw.dtype), out=copied)
        rows /= self.scaler.scale_.astype(raw.dtype)
        return rows

    @property
    def scatter(self) -> np.ndarray:
        """X^T X of the standardised training rows, (d, d) float64."""
        with self._lock:
            return self._scatter

    @cached_property
    def _scatter(self) -> np.ndarray:
        if self.moments is None:
            return sum_of_products(self.rows)
        moments, fold = self.moments
        return moments.scatter(fold, self.rows, self.scaler.mean_, self.scaler.scale_)

    @property
    def kernel(self) -> np.ndarray:
        """X X^T of the standardised training rows, (n, n) float64: smaller than `scatter` for few rows."""
        with self._lock:
            return self._kernel

    @cached_property
    def _kernel(self) -> np.ndarray:
        rows = self.rows.astype(np.float64)
        return rows @ rows.T

    def projected(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first `k` principal coordinates of the training rows (n, k) and of the held rows."""
        with self._lock:
            if self._projections is None or self._projections[0].shape[1] < k:
                axes = self.axes(max(k, min(MOST_COMPONENTS, self.dim, len(self.train))))[0]
                self._projections = self.rows @ axes.T, self.held @ axes.T
            rows, held = self._projections
            return rows[:, :k], held[:, :k]

    def project(self, rows: np.ndarray, k: int) -> np.ndarray:
        """Return the first `k` principal coordinates of other rows, (m, k); rows as they were given."""
        axes = self.axes(max(k, min(MOST_COMPONENTS, self.dim, len(self.train))))[0]
        return self.scaler.transform(rows) @ axes[:k].T

    def pca(self, k: int) -> PCA:
        """Return a fitted PCA with `k` components of the standardised training rows."""
        axes, variances = self.axes(max(k, min(MOST_COMPONENTS, self.dim, len(self.train))))
        n = len(self.train)
        total = float((self.scaler.var_ / self.scaler.scale_**2).sum()) * n / max(n - 1, 1)
        found = PCA(n_components=k, random_state=self.seed)
        found.components_, found.explained_variance_ = axes[:k], variances[:k]
        found.explained_variance_ratio_ = variances[:k] / total if total else np.zeros(k)
        found.singular_values_ = np.sqrt(variances[:k] * max(n - 1, 1))
        found.mean_ = np.zeros(self.dim, axes.dtype)
        found.n_components_, found.n_samples_, found.n_features_in_ = k, n, self.dim
        rest = min(self.dim, n) - k
        found.noise_variance_ = max(total - float(variances[:k].sum()), 0.0) / rest if rest > 0 else 0.0
        found._fit_svd_solver = "covariance_eigh"
        return found

    def axes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return at least `k` principal axes (k, d) and the variances along them, the largest first."""
        with self._lock:
            found = self.__dict__.get("_found_axes")
            if found is None or len(found[0]) < k:
                self._found_axes = found = self._decompose(k)
            return found

    def _decompose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        n, d, dtype = len(self.train), self.dim, self.rows.dtype
        if n < d:
            values, U = eigh(self.kernel, subset_by_index=[n - k, n - 1], check_finite=False)
            values, U = values[::-1], U[:, ::-1]
            axes = (self.rows.T @ U.astype(dtype)).T
            lengths = np.linalg.norm(axes, axis=1, keepdims=True)
            axes = np.divide(axes, lengths, out=np.zeros_like(axes), where=lengths > 1e-6 * lengths.max())
        else:
            # Single precision takes half the time. It finds the leading axes of float32 rows to 1e-6, the
            # precision of the rows; solvers that ask for all axes get them in double precision.
            single = dtype == np.float32 and k <= MOST_COMPONENTS
            values, V = eigh(
                self.scatter.astype(np.float32) if single else self.scatter,
                subset_by_index=[d - k, d - 1],
                check_finite=False,
            )
            values, axes = values[::-1].astype(np.float64), V[:, ::-1].T.astype(dtype)
        # The sign of an axis is arbitrary; scikit-learn makes its largest entry positive.
        largest = np.abs(axes).argmax(axis=1)
        axes = axes * np.where(axes[np.arange(len(axes)), largest] < 0, -1, 1).astype(dtype)[:, None]
        return np.ascontiguousarray(axes), np.maximum(values, 0) / max(n - 1, 1)
