"""The probes of this package, one module for each family.

Every probe is a `Pipeline` of scikit-learn's own estimators with its scaling inside, so that it can be
fitted on any rows, and kept in a file of plain arrays (`featx.estimators.model_file`). Penalties are tried on
standardised features, whose squared length is `dim` on average, and are therefore multiples of 1 / dim. The
grids run from the simplest model to the most flexible one; `featx.methods.probes.fit_probe` says how one
is chosen.

Some probes first turn to principal components. Support vectors, distances, the covariances of discriminant
analysis and the histograms of boosting cost time in proportion to the number of features or its square,
while the variance of embeddings lies in a small fraction of them.

References stand below the probes: the most frequent class or the mean, and a linear model on raw pixels. A
probe that is no better than these has learnt nothing from the embeddings.
"""

from __future__ import annotations

from typing import Any

from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx.methods.probes.probe import Problem


def scaled(*steps: tuple[str, Any]) -> Pipeline:
    """Return a pipeline of standardised features and some steps."""
    return Pipeline([("scale", StandardScaler()), *steps])


def components(problem: Problem, most: int) -> tuple[str, PCA]:
    """Return a step to at most so many principal components, which any half of the rows determines."""
    n = max(1, min(most, problem.dim, problem.n_train // 2))
    return "pca", PCA(n_components=n, random_state=problem.seed)


def divided(dim: int, *factors: float) -> list[float]:
    """Return factors over the number of features: penalties or kernel widths to try."""
    return [factor / dim for factor in factors]
