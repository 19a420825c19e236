"""Sum what the closed forms need of a large training set, in one pass over its rows.

The sums are those of x - c, where c is a row near the middle of the rows: without it, the squares of features
far from zero would lose their variance to rounding. Products are float32 for float32 rows, sums of blocks
float64. Sums of parts add up, so one pass serves the fits on all rows and on all rows but one fold.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from featx.methods.probes.fitted_steps import make_pca, make_scaler, orient_axes
from featx.methods.probes.folds import Folds, held_fold

if TYPE_CHECKING:
    from featx.methods.probes.row_blocks import RowBlocks
    from featx.methods.probes.training_rows import TrainingRows

# Rows whose median is the shift; odd, so that each value is one that occurs and a constant feature becomes 0.
_FOR_SHIFT = 257


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over rows x - `shift`, by class.

    Attributes
    ----------
    shift : ndarray of shape (d,)
    counts : ndarray of shape (n_classes,)
        Numbers of rows, or sums of their weights.
    sums, squares : ndarray of shape (n_classes, d)
        Sums of the rows and of their squares.
    scatter : ndarray of shape (d, d)
        Sum of x x^T.
    cross : ndarray of shape (d,)
        Sum of y x for numbers y, minus their mean; zeros for classes.
    """

    shift: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    scatter: np.ndarray
    cross: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.shift,
            self.counts + other.counts,
            self.sums + other.sums,
            self.squares + other.squares,
            self.scatter + other.scatter,
            self.cross + other.cross,
        )

    @property
    def n(self) -> float:
        """Number of rows, or the sum of their weights."""
        return float(self.counts.sum())

    @cached_property
    def offset(self) -> np.ndarray:
        """Mean of the shifted rows, (d,)."""
        return self.sums.sum(axis=0) / self.n

    @property
    def mean(self) -> np.ndarray:
        """Mean of the rows, (d,)."""
        return self.shift + self.offset

    @property
    def class_means(self) -> np.ndarray:
        """Means of the rows of each class, (n_classes, d)."""
        return self.shift + self.sums / self.counts[:, None]

    @cached_property
    def scaler(self) -> StandardScaler:
        """The fitted scaler."""
        n = int(self.n)
        variance = np.maximum(self.squares.sum(axis=0) / n - self.offset**2, 0)
        return make_scaler(self.mean, variance, n, offset=self.offset)

    def pca(self, k: int, seed: int) -> PCA:
        """Return a fitted PCA with `k` components of the standardised rows."""
        n, d = int(self.n), len(self.shift)
        scatter, _, _ = self.standardised(self.scaler)
        values, V = eigh(scatter, subset_by_index=[d - k, d - 1])
        variances, total = np.maximum(values[::-1], 0) / (n - 1), float(np.trace(scatter)) / (n - 1)
        return make_pca(orient_axes(V[:, ::-1].T), variances, total, n, seed)

    def standardised(self, scaler: StandardScaler) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the centred scatter (d, d), mean (d,) and class means (k, d) of standardised rows."""
        scale = scaler.scale_
        scatter = (self.scatter - self.n * np.outer(self.offset, self.offset)) / np.outer(scale, scale)
        return scatter, (self.mean - scaler.mean_) / scale, (self.class_means - scaler.mean_) / scale


class BlockMoments:
    """Moments of all rows of a large set, and of those outside a fold that is held out, from one pass.

    Attributes
    ----------
    folds : list of (train, held)
        Those to fit a temperature on, mostly one (`folds.held_fold`); none for numbers, and where no row can
        be held out.
    """

    def __init__(self, rows: TrainingRows):
        folds = rows.folds if rows.task == "classes" else []
        self.folds: Folds = held_fold(folds, rows.y, rows.groups, 0)
        part = np.full(len(rows), len(self.folds))
        for f, (_, held) in enumerate(self.folds):
            part[held] = f
        self._parts = sum_moments(rows, part, 1 + int(part.max()))

    @cached_property
    def whole(self) -> Moments:
        """Moments of all rows."""
        return self.without(None)

    def without(self, fold: int | None) -> Moments:
        """Return the moments of the training rows of a fold."""
        return reduce(operator.add, (one for f, one in enumerate(self._parts) if f != fold))


def sum_moments(
    rows: TrainingRows, part: np.ndarray, n_parts: int, weights: np.ndarray | None = None
) -> list[Moments]:
    """Return the moments of each part of a large set.

    Parameters
    ----------
    rows : TrainingRows
        `X` is a `RowBlocks`.
    part : ndarray of shape (n,), int
        Part of each row, 0 to `n_parts` - 1; below 0: none.
    weights : ndarray of shape (n,), optional
    """
    blocks: RowBlocks = rows.X
    k, d = max(len(rows.classes), 1), blocks.shape[1]
    shift = np.median(blocks[np.linspace(0, len(blocks) - 1, _FOR_SHIFT).astype(np.int64)], axis=0)
    numbers = rows.y - np.mean(rows.y) if rows.task == "numbers" else None
    sums, squares, counts = np.zeros((n_parts * k, d)), np.zeros((n_parts * k, d)), np.zeros(n_parts * k)
    scatters, cross = np.zeros((n_parts, d, d)), np.zeros((n_parts, d))
    for place, raw in blocks.blocks():
        parts = part[place]
        X = raw - shift
        w = np.ones(len(X)) if weights is None else weights[place]
        w = np.where(parts < 0, 0.0, w)
        member = np.maximum(parts, 0) * k + rows.codes[place]
        counts += np.bincount(member, w, n_parts * k)
        by_class = csr_array((w, member, np.arange(len(X) + 1)), (len(X), n_parts * k)).T
        double = X.astype(np.float64)
        sums += by_class @ double
        double *= double
        squares += by_class @ double
        for f in np.unique(parts[parts >= 0]):
            mine = parts == f
            own = X if mine.all() else X[mine]
            if weights is not None:
                own = own * np.sqrt(w[mine]).astype(own.dtype)[:, None]
            scatters[f] += rows.products.scatter(own)
            if numbers is not None:
                cross[f] += (w[mine] * numbers[place][mine]) @ X[mine]
    of = [slice(f * k, f * k + k) for f in range(n_parts)]
    return [
        Moments(shift, counts[at], sums[at], squares[at], scatters[f], cross[f]) for f, at in enumerate(of)
    ]


def weighted_moments(rows: TrainingRows, train: np.ndarray, weights: np.ndarray) -> Moments:
    """Return the moments of training rows by position, with weights (n,)."""
    part, of_all = np.full(len(rows), -1), np.zeros(len(rows))
    part[train], of_all[train] = 0, weights
    return sum_moments(rows, part, 1, of_all)[0]
