"""Support vector machines with an RBF kernel.

Squared distances of standardised rows are about 2 dim, so gamma is a multiple of 1 / dim.
"""

from __future__ import annotations

from sklearn.compose import TransformedTargetRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC

from featx.methods.probes.catalogue import components, divided, row_length, scaled
from featx.methods.probes.fitters.kernels import KernelFitter, count_landmarks
from featx.methods.probes.probe import INPUT, Probe, Problem, Variant

#: With more rows the kernel of all pairs is approximated: it takes n^2 values, and libsvm n^2 to n^3 steps.
EXACT_ROWS = 5_000


def _rbf_svm(problem: Problem):
    gammas = divided(problem.dim, 0.25, 1)
    if problem.n_train > EXACT_ROWS:
        return _nystroem_svm(problem, gammas)
    # One against the rest, because the pairwise votes of SVC hardly tell confidence from doubt.
    svm = OneVsRestClassifier(SVC(C=10.0, gamma=gammas[0], cache_size=500))
    step, lengths = row_length(problem)
    grid = {**lengths, "svm__estimator__C": [1.0, 10.0], "svm__estimator__gamma": gammas}
    return scaled(components(problem, 128), step, ("svm", svm)), {**grid, **problem.weights("svm__estimator")}


def _nystroem_svm(problem: Problem, gammas: list[float]):
    step, lengths = row_length(problem)
    seed = problem.seed
    landmarks = Nystroem(gamma=gammas[0], n_components=count_landmarks(problem.n_train), random_state=seed)
    svm = LinearSVC(C=1.0, dual=False, random_state=seed)
    grid = {**lengths, "svm__C": [0.1, 1.0, 10.0], "nystroem__gamma": gammas}
    model = scaled(components(problem, 128), step, ("nystroem", landmarks), ("svm", svm))
    return model, {**grid, **problem.weights("svm")}


def _name_approximation(problem: Problem) -> Variant | None:
    if problem.n_train <= EXACT_ROWS:
        return None
    m = count_landmarks(problem.n_train)
    note = f"kernel approximated by {m:,} landmarks of {problem.n_train:,} training {INPUT}s (Nystroem)"
    return Variant("SVM with an rbf kernel (Nystroem)", {"landmarks": m}, note)


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
        fitter=KernelFitter(),
        variant=_name_approximation,
        shown=("pca__n_components",),
    ),
    Probe("svr", "Support vector regression", _svr, "numbers", fitter=KernelFitter(), max_rows=EXACT_ROWS),
)
