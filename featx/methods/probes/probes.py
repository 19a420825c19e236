"""The probes: which classifiers are tried on frozen embeddings, and which of their settings.

Every probe is a `Pipeline` of scikit-learn's own estimators with its scaling inside, so that it can be
fitted on any rows, and kept in a file of plain arrays (`featx.estimators.model_file`). Penalties are tried on
standardised features, whose squared length is `dim` on average, and are therefore multiples of 1 / dim. The
grids run from the simplest model to the most flexible one, and a tie goes to the simplest (`fit_probe` says
how else among logistic regressions).

Some probes first turn to principal components. Support vectors, distances, the covariances of discriminant
analysis and the histograms of boosting cost time in proportion to the number of features or its square,
while the variance of embeddings lies in a small fraction of them.

Two floors stand below the probes: the most frequent class, and logistic regression on raw pixels. A probe
that is no better than these has learnt nothing from the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sklearn.base import ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from featx.errors import UnknownName
from featx.methods.probes import protocols
from featx.methods.probes.definitions import define

Grid = dict[str, list[Any]]


@dataclass(frozen=True)
class Task:
    """What a probe may know of the training data before it is built.

    Attributes
    ----------
    n_train, n_classes, dim : int
        Size of the problem.
    seed : int
        Seed of everything random in the estimator.
    imbalanced : bool
        Whether the largest class is more than 1.5 times the smallest. Where the estimator can weight its
        classes, the weights are then a setting to choose; otherwise they are not worth twice the time.
    """

    n_train: int
    n_classes: int
    dim: int
    seed: int = 0
    imbalanced: bool = False

    def components(self, most: int) -> int:
        """Principal components that any half of the training rows can still determine."""
        return max(1, min(most, self.dim, self.n_train // 2))

    def weights(self, step: str) -> Grid:
        """The class weights to choose from, as part of a grid."""
        return {f"{step}__class_weight": [None, "balanced"]} if self.imbalanced else {}

    def priors(self, step: str) -> Grid:
        """The same for estimators that take priors: those of the data, or equal ones."""
        return {f"{step}__priors": [None, [1 / self.n_classes] * self.n_classes]} if self.imbalanced else {}


@dataclass(frozen=True)
class Probe:
    """A classifier in the registry.

    Attributes
    ----------
    name, title : str
        What it is called in commands, and for people.
    build : callable
        Takes a `Task`; gives the unfitted estimator and its grid. Without any selection the estimator
        as built is used.
    kind : {"probe", "floor"}
        Whether it competes or is the floor below those that do.
    calibrated : bool
        Its scores are no probabilities, or are known to be far too sure: they are divided by one
        temperature, fitted on held-out folds of the training rows. The label never changes.
    few_folds : bool
        Two folds, not five, fit its temperature: every fit is dear.
    path : bool
        Its last step is a plain logistic regression, whose penalties are solved together (`logistic`).
    max_rows : int or None
        Most rows it is fitted on; of more, a stratified sample is taken.
    shown : tuple of str
        Settings worth reporting besides those that were selected.
    on_request : bool
        Only used when it is asked for by name.
    choose : callable or None
        A protocol's own way to its settings, instead of cross-validation over a grid (`protocols`).
    """

    name: str
    title: str
    build: Callable[[Task], tuple[ClassifierMixin, Grid]]
    kind: Literal["probe", "floor"] = "probe"
    calibrated: bool = False
    few_folds: bool = False
    path: bool = False
    max_rows: int | None = None
    shown: tuple[str, ...] = ()
    on_request: bool = False
    choose: Callable[..., protocols.Choice] | None = None

    def make(
        self, n_train: int, n_classes: int, dim: int, seed: int = 0, *, imbalanced: bool = False
    ) -> tuple[ClassifierMixin, Grid]:
        """The unfitted estimator and its grid for a problem of this size."""
        return self.build(Task(n_train, n_classes, dim, seed, imbalanced))

    def definition(self, task: Task) -> dict[str, Any]:
        """All that makes its outcome on a problem of this size, as plain JSON.

        Parameters
        ----------
        task : Task

        Returns
        -------
        dict
            The estimator with every parameter, the grid, and how a setting is chosen from it; equal only
            where the same is fitted. See `featx.methods.probes.definitions`.
        """
        estimator, grid = self.build(task)
        return {
            "name": self.name,
            "estimator": define(estimator),
            "grid": define(grid),
            "choose": define(self.choose),
            "rules": define([self.calibrated, self.few_folds, self.path, self.max_rows, self.shown]),
        }


def _logreg(task: Task):
    logreg = LogisticRegression(C=10 / task.dim, max_iter=2000)
    model = Pipeline([("scale", StandardScaler()), ("logreg", logreg)])
    return model, {"logreg__C": _per(task.dim, 0.1, 1, 10, 100, 1000), **task.weights("logreg")}


def _svm(task: Task):
    # One class against the rest with the squared hinge, as LinearSVC has it. Its penalty on the intercept
    # does not matter: the data is centred.
    svm = LinearSVC(C=0.1 / task.dim, dual="auto", tol=1e-3, max_iter=20_000, random_state=task.seed)
    model = Pipeline([("scale", StandardScaler()), _pca(task, 256), ("svm", svm)])
    return model, {"svm__C": _per(task.dim, 0.01, 0.1, 1), **task.weights("svm")}


def _rbf_svm(task: Task):
    # After standardisation squared distances are of the order of 2 dim: gamma is a multiple of 1 / dim.
    # One against the rest: SVC's own votes of pairs hardly tell a sure answer from a doubtful one.
    gammas = _per(task.dim, 0.25, 1)
    svm = OneVsRestClassifier(SVC(C=10.0, gamma=gammas[0], cache_size=500))
    model = Pipeline([("scale", StandardScaler()), _pca(task, 128), ("svm", svm)])
    grid = {"svm__estimator__C": [1.0, 10.0], "svm__estimator__gamma": gammas}
    return model, {**grid, **task.weights("svm__estimator")}


def _knn(task: Task):
    # Rows of length 1: the Euclidean neighbours are then the cosine neighbours.
    knn = KNeighborsClassifier(n_neighbors=1, algorithm="brute", weights="distance")
    model = Pipeline([("scale", StandardScaler()), _pca(task, 256), ("unit", Normalizer()), ("knn", knn)])
    neighbours = [k for k in (20, 10, 5, 3, 1) if 2 * k <= task.n_train]
    return model, {"knn__n_neighbors": neighbours or [1]}


def _lda(task: Task):
    lda: ClassifierMixin = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    grid = {"lda__shrinkage": [0.9, 0.5, 0.1, "auto"], **task.priors("lda")}
    if task.n_train < 3 * task.n_classes:
        grid = {}  # parts of these rows would have no more images than classes
    if task.n_train <= task.n_classes:
        # No scatter within classes to estimate. Discriminant analysis with one spherical covariance is
        # what Gaussian naive Bayes comes to when every variance is the smoothing.
        lda = GaussianNB(var_smoothing=1.0)
    model = Pipeline([("scale", StandardScaler()), _pca(task, 256), ("lda", lda)])
    return model, grid


def _ridge(task: Task):
    model = Pipeline([("scale", StandardScaler()), ("ridge", RidgeClassifier(alpha=float(task.dim)))])
    alphas = [task.dim * factor for factor in (100.0, 10.0, 1.0, 0.1, 0.01)]
    return model, {"ridge__alpha": alphas, **task.weights("ridge")}


def _forest(task: Task):
    # Settings of a forest matter little next to its size (Probst et al. 2019): none is searched.
    weight = "balanced" if task.imbalanced else None
    return Pipeline(
        [
            (
                "forest",
                RandomForestClassifier(n_estimators=150, class_weight=weight, random_state=task.seed),
            )
        ]
    ), {}


def _boosting(task: Task):
    # One tree per class and round: 64 components, 64 bins and shallow trees keep the rounds short; early
    # stopping would take a tenth of the few training rows away.
    boosting = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.1,
        max_leaf_nodes=8,
        min_samples_leaf=5,
        l2_regularization=1.0,
        max_features=0.3,
        max_bins=63,
        early_stopping=False,
        class_weight="balanced" if task.imbalanced else None,
        random_state=task.seed,
    )
    return Pipeline([("scale", StandardScaler()), _pca(task, 64), ("boosting", boosting)]), {}


def _naive_bayes(task: Task):
    # On standardised features the smoothing is a share of one common variance.
    model = Pipeline([("scale", StandardScaler()), ("bayes", GaussianNB(var_smoothing=1e-1))])
    return model, {"bayes__var_smoothing": [10.0, 1.0, 1e-1, 1e-2], **task.priors("bayes")}


def _majority(task: Task):
    return DummyClassifier(strategy="prior"), {}


def _pixels(task: Task):
    logreg = LogisticRegression(C=1 / task.dim, max_iter=2000)
    model = Pipeline([("scale", StandardScaler()), _pca(task, 256), ("logreg", logreg)])
    return model, {"logreg__C": _per(task.dim, 0.01, 0.1, 1, 10, 100), **task.weights("logreg")}


def _per(dim: int, *factors: float) -> list[float]:
    return [factor / dim for factor in factors]


def _pca(task: Task, most: int) -> tuple[str, PCA]:
    return "pca", PCA(n_components=task.components(most), random_state=task.seed)


_PCA = ("pca__n_components",)
_TREES = ("forest__n_estimators",)
_ALL = (
    Probe("logreg", "Logistic regression", _logreg, path=True),
    Probe("svm", "Linear SVM", _svm, calibrated=True, shown=_PCA),
    Probe("rbf-svm", "SVM with an rbf kernel", _rbf_svm, calibrated=True, max_rows=5_000, shown=_PCA),
    Probe("knn", "Nearest neighbours", _knn, calibrated=True, shown=_PCA),
    Probe("lda", "Linear discriminant analysis", _lda, shown=_PCA),
    Probe("ridge", "Ridge classifier", _ridge, calibrated=True),
    Probe(
        "forest", "Random forest", _forest, calibrated=True, few_folds=True, shown=("forest__n_estimators",)
    ),
    Probe("boosting", "Gradient boosting", _boosting, shown=(*_PCA, "boosting__max_iter")),
    Probe("naive-bayes", "Naive Bayes", _naive_bayes, calibrated=True),
    Probe(
        "linear-probe",
        "Linear probe (Kornblith 2019)",
        protocols.linear_probe,
        on_request=True,
        choose=protocols.choose_penalty(protocols.LINEAR_PROBE_CS, 0.2),
    ),
    Probe(
        "dinov2-logreg",
        "Logistic regression (DINOv2)",
        protocols.linear_probe,
        on_request=True,
        choose=protocols.choose_penalty(protocols.DINOV2_CS, 0.1),
    ),
    Probe(
        "dinov2-knn",
        "Weighted neighbours (DINOv2)",
        protocols.neighbours,
        calibrated=True,
        few_folds=True,
        on_request=True,
        choose=protocols.choose_neighbours,
    ),
    Probe(
        "lsr-fewshot",
        "Least squares (big_vision)",
        protocols.few_shot,
        calibrated=True,
        on_request=True,
    ),
    Probe(
        "nearest-centroid",
        "Nearest class mean",
        protocols.nearest_centroid,
        calibrated=True,
        on_request=True,
    ),
    Probe("majority", "Most frequent class", _majority, kind="floor"),
    Probe("pixels", "Logistic regression on pixels", _pixels, kind="floor", path=True, shown=_PCA),
)

#: Every probe and floor by name.
PROBES: dict[str, Probe] = {probe.name: probe for probe in _ALL}


def probe_names(*, on_request: bool = False) -> tuple[str, ...]:
    """Names of the probes that compete, in the order in which they are tried.

    Parameters
    ----------
    on_request : bool, default=False
        Also those that are only used when asked for: the protocols.

    Returns
    -------
    tuple of str
    """
    return tuple(p.name for p in _ALL if p.kind == "probe" and (on_request or not p.on_request))


def floor_names() -> tuple[str, ...]:
    """Names of the floors.

    Returns
    -------
    tuple of str
    """
    return tuple(probe.name for probe in _ALL if probe.kind == "floor")


def get_probe(name: str) -> Probe:
    """The probe, or floor, of this name.

    Parameters
    ----------
    name : str
        As in `probe_names` or `floor_names`; case and underscores do not matter.

    Returns
    -------
    Probe

    Raises
    ------
    UnknownName
        There is none; the message offers the nearest.
    """
    found = PROBES.get(name.lower().replace("_", "-"))
    if found is None:
        raise UnknownName("classifier", name, PROBES)
    return found
