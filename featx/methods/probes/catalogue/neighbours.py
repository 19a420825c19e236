"""Nearest neighbours by cosine: Euclidean neighbours of rows scaled to length 1."""

from __future__ import annotations

from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import Normalizer

from featx.methods.probes.catalogue import components, scaled
from featx.methods.probes.fitters.neighbours import NeighboursFitter
from featx.methods.probes.probe import Probe, Problem


def _knn(problem: Problem, estimator=KNeighborsClassifier):
    knn = estimator(n_neighbors=1, algorithm="brute", weights="distance")
    model = scaled(components(problem, 256), ("unit", Normalizer()), ("knn", knn))
    return model, {"knn__n_neighbors": problem.neighbours()}


def _knn_regression(problem: Problem):
    return _knn(problem, KNeighborsRegressor)


PROBES = (
    Probe(
        "knn",
        "Nearest neighbours",
        _knn,
        calibrated=True,
        fitter=NeighboursFitter(),
        shown=("pca__n_components",),
    ),
    Probe("knn", "Nearest neighbours", _knn_regression, "numbers", fitter=NeighboursFitter()),
)
