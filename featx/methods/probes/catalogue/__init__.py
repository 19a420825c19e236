"""The probes of this package, one module for each family.

Probes are pipelines of scikit-learn's estimators that include the scaling, so that they fit any rows and can
be saved as plain arrays (`featx.estimators.model_file`). Penalties apply to standardised features, whose mean
squared length is `dim`, and are therefore multiples of 1 / dim. Grids go from the simplest model to the most
flexible one; `featx.methods.probes.fit_probe` says how a model is chosen.

Some probes reduce embeddings to principal components, because their time grows with the number of features
or its square, while few components hold most of the variance of embeddings.

The references are the most frequent class, the mean, and a linear model of what needs no network: the raw
pixels of images, TF-IDF of texts, filter banks of clips. Where no probe is better than these, the embeddings
add nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from featx.methods.probes.probe import Problem


class RowLength(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scale every row to one length, so that a classifier sees directions only; rows of zeros stay.

    Parameters
    ----------
    length : float, default=None
        The Euclidean length. None leaves the rows as they are.

    Attributes
    ----------
    n_features_in_ : int
    """

    def __init__(self, length=None):
        self.length = length

    def fit(self, X, y=None):
        """Check rows (n, d); nothing is learnt."""
        validate_data(self, X, dtype=(np.float64, np.float32))
        return self

    def transform(self, X):
        """Scale rows; return an ndarray of the same shape and dtype."""
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        if self.length is None:
            return X
        lengths = np.linalg.norm(X, axis=1, keepdims=True)
        return X * (self.length / np.where(lengths > 0, lengths, 1)).astype(X.dtype)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def row_length(problem: Problem) -> tuple[tuple[str, RowLength], dict[str, list[Any]]]:
    """Return a step that may scale rows to one length, and its setting as a part of a grid.

    The length is that of a standardised row on average, so that penalties and kernel widths suit both.
    """
    return ("rows", RowLength()), {"rows__length": [None, float(np.sqrt(problem.dim))]}


def scaled(*steps: tuple[str, Any]) -> Pipeline:
    """Return a pipeline that standardises features before the given steps."""
    return Pipeline([("scale", StandardScaler()), *steps])


def components(problem: Problem, most: int) -> tuple[str, PCA]:
    """Return a PCA step with at most `most` components, and at most half as many as rows."""
    n = max(1, min(most, problem.dim, problem.n_train // 2))
    return "pca", PCA(n_components=n, random_state=problem.seed)


def divided(dim: int, *factors: float) -> list[float]:
    """Return multiples of 1 / dim: penalties or kernel widths to try."""
    return [factor / dim for factor in factors]
