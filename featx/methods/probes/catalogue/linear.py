"""Linear models."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.svm import LinearSVC

from featx.methods.probes.catalogue import components, divided, row_length, scaled
from featx.methods.probes.fitters.linear import LogisticFitter, SvmFitter
from featx.methods.probes.fitters.ridge import RidgeFitter
from featx.methods.probes.probe import Probe, Problem


def logistic_regression(problem: Problem):
    """Build logistic regression; the penalty is chosen."""
    model = scaled(("logreg", LogisticRegression(C=10 / problem.dim, max_iter=2000)))
    return model, {"logreg__C": divided(problem.dim, 0.1, 1, 10, 100, 1000), **problem.weights("logreg")}


def _svm(problem: Problem):
    # LinearSVC penalises the intercept, too; features are centred, so that does not matter.
    svm = LinearSVC(C=0.1 / problem.dim, dual="auto", tol=1e-3, max_iter=20_000, random_state=problem.seed)
    step, lengths = row_length(problem)
    model = scaled(components(problem, 256), step, ("svm", svm))
    return model, {**lengths, "svm__C": divided(problem.dim, 0.01, 0.1, 1), **problem.weights("svm")}


def _ridge(problem: Problem):
    model = scaled(("ridge", RidgeClassifier(alpha=float(problem.dim))))
    alphas = [problem.dim * factor for factor in (100.0, 10.0, 1.0, 0.1, 0.01)]
    return model, {"ridge__alpha": alphas, **problem.weights("ridge")}


def ridge_regression(problem: Problem):
    """Build ridge regression of numbers."""
    model = scaled(("ridge", Ridge(alpha=float(problem.dim))))
    return model, {"ridge__alpha": [problem.dim * f for f in (100.0, 10.0, 1.0, 0.1, 0.01, 0.001)]}


PROBES = (
    Probe("logreg", "Logistic regression", logistic_regression, calibrated=True, fitter=LogisticFitter()),
    Probe("svm", "Linear SVM", _svm, calibrated=True, fitter=SvmFitter(), shown=("pca__n_components",)),
    Probe("ridge", "Ridge classifier", _ridge, calibrated=True, fitter=RidgeFitter()),
    Probe("ridge", "Ridge regression", ridge_regression, "numbers", fitter=RidgeFitter()),
)
