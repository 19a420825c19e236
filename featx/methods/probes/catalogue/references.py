"""References: the most frequent class and the mean, which look at no image; linear models on raw pixels."""

from __future__ import annotations

from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression

from featx.methods.probes.catalogue import components, divided, scaled
from featx.methods.probes.catalogue.linear import ridge_regression
from featx.methods.probes.fitters.linear import LogisticFitter
from featx.methods.probes.fitters.ridge import RidgeFitter
from featx.methods.probes.probe import Probe, Problem


def _majority(problem: Problem):
    return DummyClassifier(strategy="prior"), {}


def _mean(problem: Problem):
    return DummyRegressor(strategy="mean"), {}


def _pixels(problem: Problem):
    logreg = LogisticRegression(C=1 / problem.dim, max_iter=2000)
    model = scaled(components(problem, 256), ("logreg", logreg))
    return model, {"logreg__C": divided(problem.dim, 0.01, 0.1, 1, 10, 100), **problem.weights("logreg")}


PROBES = (
    Probe("majority", "Most frequent class", _majority, kind="floor"),
    Probe("mean", "Mean of the training images", _mean, "numbers", kind="floor"),
    Probe(
        "pixels",
        "Logistic regression on pixels",
        _pixels,
        kind="floor",
        fitter=LogisticFitter(),
        shown=("pca__n_components",),
    ),
    Probe(
        "pixels",
        "Ridge regression on pixels",
        ridge_regression,
        "numbers",
        kind="floor",
        fitter=RidgeFitter(),
    ),
)
