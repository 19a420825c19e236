"""Support vector machines with an RBF kernel.

Squared distances of standardised rows are about 2 dim, so gamma is a multiple of 1 / dim.
"""

from __future__ import annotations

from sklearn.compose import TransformedTargetRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from featx.methods.probes.catalogue import components, divided, row_length, scaled
from featx.methods.probes.probe import Probe, Problem


def _rbf_svm(problem: Problem):
    # One against the rest, because the pairwise votes of SVC hardly tell confidence from doubt.
    gammas = divided(problem.dim, 0.25, 1)
    svm = OneVsRestClassifier(SVC(C=10.0, gamma=gammas[0], cache_size=500))
    step, lengths = row_length(problem)
    grid = {**lengths, "svm__estimator__C": [1.0, 10.0], "svm__estimator__gamma": gammas}
    return scaled(components(problem, 128), step, ("svm", svm)), {**grid, **problem.weights("svm__estimator")}


def _svr(problem: Problem):
    # Targets are standardised, because the penalty and epsilon are in units of the target.
    gammas = divided(problem.dim, 0.25, 1)
    svr = TransformedTargetRegressor(
        SVR(C=1.0, gamma=gammas[0], epsilon=0.1, cache_size=500), transformer=StandardScaler()
    )
    model = scaled(components(problem, 128), ("svr", svr))
    return model, {"svr__regressor__C": [1.0, 10.0], "svr__regressor__gamma": gammas}


PROBES = (
    Probe(
        "rbf-svm",
        "SVM with an rbf kernel",
        _rbf_svm,
        calibrated=True,
        max_rows=5_000,
        shown=("pca__n_components",),
    ),
    Probe("svr", "Support vector regression", _svr, "numbers", max_rows=5_000),
)
