"""Divide columns into blocks, and concatenate the blocks with equal weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import InputError


def block_slices(blocks: Sequence[int] | None, n_features: int) -> list[slice]:
    """Return the columns of each block; None is one block. The widths must add up to `n_features`."""
    widths = [n_features] if blocks is None else list(blocks)
    if not widths or any(isinstance(w, bool) or not isinstance(w, int | np.integer) or w < 1 for w in widths):
        raise InputError(f"blocks must be positive numbers of columns, got {blocks!r}")
    if sum(widths) != n_features:
        raise InputError(f"blocks of {' + '.join(map(str, widths))} columns do not make up {n_features}")
    ends = np.cumsum(widths)
    return [slice(int(end - width), int(end)) for width, end in zip(widths, ends, strict=True)]


class ConcatenatedBlocks(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Standardise every column and divide it by the square root of the width of its block.

    The rows of every block then have a mean squared length of 1, whatever the backbone's dimension and scale,
    so that no block outweighs another in distances, kernels and penalties::

        x_j -> (x_j - mean_j) / (std_j sqrt(width of j's block))

    Parameters
    ----------
    blocks : sequence of int, optional
        Widths of the blocks, in order; default: all columns are one block.

    Attributes
    ----------
    mean_, scale_ : ndarray of shape (n_features,)
        Mean and divisor of each column. A constant column is only centred.
    n_features_in_ : int
    """

    def __init__(self, blocks: Sequence[int] | None = None):
        self.blocks = blocks

    def fit(self, X, y=None):
        """Learn means and scales from rows (n, n_features), whose columns the blocks must add up to."""
        rows = validate_data(self, X, dtype=(np.float64, np.float32))
        self.mean_ = rows.mean(axis=0, dtype=np.float64)
        spread = rows.std(axis=0, dtype=np.float64)
        tiny = 10 * np.finfo(rows.dtype).eps * np.abs(self.mean_)
        self.scale_ = np.where(spread <= tiny, 1.0, spread)
        for columns in block_slices(self.blocks, rows.shape[1]):
            self.scale_[columns] *= np.sqrt(columns.stop - columns.start)
        return self

    def transform(self, X):
        """Scale rows; return an ndarray of the same shape and dtype."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return ((rows - self.mean_) / self.scale_).astype(rows.dtype, copy=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
