"""Check source and target rows, and define the two maps that every adaptation has."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import InputError

_DTYPES = (np.float64, np.float32)


class DomainAdapter(TransformerMixin, BaseEstimator):
    """Base class: `_fit` learns from both domains in float64; `_source` and `_target` are the two maps."""

    def fit(self, X, y=None, target=None):
        """Learn both maps.

        Parameters
        ----------
        X : array-like of shape (n_source, d)
            Source rows.
        y : ignored
        target : array-like of shape (n_target, d), optional
            Target rows, without labels; None means that there is one domain.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Rows are not finite numbers of shape (n, d), or there are fewer than two.
        InputError
            The domains differ in the number of features, or a setting is out of range.
        """
        self._learn(X, target)
        return self

    def fit_transform(self, X, y=None, target=None):
        """Learn both maps as `fit` does, and return the mapped source rows to train a classifier on.

        Returns
        -------
        ndarray of shape (n_source, n_features_out)
            Rows in the dtype of `X`.
        """
        rows = self._learn(X, target)
        return self._source(rows.astype(np.float64, copy=False)).astype(rows.dtype, copy=False)

    def transform(self, X):
        """Map rows (n, d) of the target domain, for the classifier to predict.

        Returns
        -------
        ndarray of shape (n, n_features_out)
            Rows in the dtype of `X`.
        """
        return self._map(X, self._target)

    def transform_source(self, X):
        """Map further rows (n, d) of the source domain as `fit_transform` does."""
        return self._map(X, self._source)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _learn(self, X, target) -> np.ndarray:
        rows = validate_data(self, X, dtype=_DTYPES, ensure_min_samples=2)
        source = rows.astype(np.float64, copy=False)
        if target is None:
            self._fit(source, source)
            return rows
        other = validate_data(_Rows(), target, dtype=_DTYPES, ensure_min_samples=2)
        if other.shape[1] != rows.shape[1]:
            raise InputError(
                f"target rows have {other.shape[1]} features, source rows {rows.shape[1]}; "
                "take both from the same backbone and layer"
            )
        self._fit(source, other.astype(np.float64, copy=False))
        return rows

    def _map(self, X, how) -> np.ndarray:
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=_DTYPES, reset=False)
        return how(rows.astype(np.float64, copy=False)).astype(rows.dtype, copy=False)

    def _fit(self, source: np.ndarray, target: np.ndarray) -> None:
        raise NotImplementedError

    def _source(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _target(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class _Rows(BaseEstimator):
    """Validate target rows under the name "target", without overwriting the feature names of the source."""

    def __repr__(self) -> str:
        return "target"


def check_positive(name: str, value: Any, *, zero: bool = False) -> float:
    """Return `value` as a number above 0 (or at least 0), or raise an error that names it."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise InputError(f"{name} must be a number {'of at least' if zero else 'above'} 0, got {value!r}")
    return float(value)


def check_whole(name: str, value: Any) -> int:
    """Return `value` as a whole number of at least 1, or raise an error that names it."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)
