"""The probes of this package, one module for each family.

Probes are pipelines of scikit-learn's estimators that include the scaling, so that they fit any rows and can
be saved as plain arrays (`featx.estimators.model_file`). Penalties apply to standardised features, whose mean
squared length is `dim`, and are therefore multiples of 1 / dim. Grids go from the simplest model to the most
flexible one; `featx.methods.probes.fit_probe` says how a model is chosen.

Some probes reduce embeddings to principal components, because their time grows with the number of features
or its square, while few components hold most of the variance of embeddings.

The references are the most frequent class, the mean, and a linear model on raw pixels. A probe that is no
better than these has learnt nothing from the embeddings.
"""

from __future__ import annotations

from typing import Any

from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx.methods.probes.probe import Problem


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
