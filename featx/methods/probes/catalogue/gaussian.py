"""Gaussian classes: discriminant analysis with one covariance, naive Bayes with independent features."""

from __future__ import annotations

from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB

from featx.methods.probes.catalogue import components, scaled
from featx.methods.probes.fitters.gaussian import GaussianFitter
from featx.methods.probes.probe import Probe, Problem


def _lda(problem: Problem):
    lda: ClassifierMixin = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    grid = {"lda__shrinkage": [0.9, 0.5, 0.1, "auto"], **problem.priors("lda")}
    if problem.n_train < 3 * problem.n_classes:
        # Folds would have no more rows than classes, and no scatter within classes to estimate. Gaussian
        # naive Bayes whose variances are all equal to the smoothing is discriminant analysis with a spherical
        # covariance.
        lda, grid = GaussianNB(var_smoothing=1.0), {}
    return scaled(components(problem, 256), ("lda", lda)), grid


def _naive_bayes(problem: Problem):
    # On standardised features the smoothing is a share of one common variance.
    model = scaled(("bayes", GaussianNB(var_smoothing=1e-1)))
    return model, {"bayes__var_smoothing": [10.0, 1.0, 1e-1, 1e-2], **problem.priors("bayes")}


PROBES = (
    Probe(
        "lda",
        "Linear discriminant analysis",
        _lda,
        calibrated=True,
        fitter=GaussianFitter(),
        shown=("pca__n_components",),
    ),
    Probe("naive-bayes", "Naive Bayes", _naive_bayes, calibrated=True, fitter=GaussianFitter()),
)
