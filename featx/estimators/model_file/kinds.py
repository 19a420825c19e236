"""List the kinds of fitted objects in a model file, with their arrays and settings.

A kind has one entry in `KINDS`: its settings, and its arrays with their shapes. Shapes are written in
letters; a letter is the same number in all arrays of an object:

====== ===========================================================================
letter number
====== ===========================================================================
d      input features (of a pipeline's first step: of the embedding)
o      output features of a transformer
k      classes
s      scores: one for two classes, else one per class
others any number, read from the file
====== ===========================================================================

`classifier` handles pipelines, one-against-rest and temperatures, which hold other objects.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import LabelBinarizer, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from featx.errors import InputError
from featx.methods.probes.catalogue import RowLength
from featx.methods.probes.catalogue.protocols import NeighbourVotes, Prototypes
from featx.methods.probes.linear_head import LinearHead
from featx.methods.probes.logistic import LogisticProbe
from featx.methods.probes.packed_trees import LEAF, PackedBoosting, PackedForest, pack_boosting, pack_forest
from featx.methods.probes.ridge import LeastSquaresProbe

__all__ = ["KINDS", "Choice", "Kind", "Number", "Values"]


@dataclass(frozen=True)
class Values:
    """An array of a fitted object.

    Attributes
    ----------
    shape : str
        A letter for each dimension.
    low, high : float
        Smallest and largest value.
    codes : str
        A letter, if the values are integers from `low` to that number - 1.
    counts : bool
        Whether the values are integers.
    empty : bool
        Whether the array may be empty.
    """

    shape: str
    low: float = -math.inf
    high: float = math.inf
    codes: str = ""
    counts: bool = False
    empty: bool = False

    def checked(self, array: np.ndarray, numbers: dict[str, int], where: str) -> np.ndarray:
        """Check the array and return it; add new letters of its shape to `numbers`."""
        if array.ndim != len(self.shape):
            raise InputError(f"{where} has {array.ndim} dimensions, expected {len(self.shape)}")
        expected = tuple(
            int(letter) if letter.isdigit() else numbers.setdefault(letter, length)
            for letter, length in zip(self.shape, array.shape, strict=True)
        )
        if array.shape != expected:
            raise InputError(f"{where} has shape {array.shape}, expected {expected}")
        if (array.dtype.kind == "f") == bool(self.codes or self.counts) or array.dtype == np.float16:
            raise InputError(f"{where} is of dtype {array.dtype}")
        if not array.size:
            if not self.empty:
                raise InputError(f"{where} is empty")
            return array
        low, high = float(array.min()), float(array.max())
        most = numbers[self.codes] - 1 if self.codes else self.high
        if not (self.low <= low <= high <= most) or math.isinf(low) or math.isinf(high):
            raise InputError(
                f"{where} reaches from {low:.4g} to {high:.4g}, expected {self.low:g} to {most:g}"
            )
        return array


@dataclass(frozen=True)
class Number:
    """A setting that is a number, with `whole` an integer, with `optional` a number or None."""

    low: float = 0.0
    high: float = 1e300
    whole: bool = False
    optional: bool = False

    def fits(self, value: Any) -> bool:
        """Tell whether a value is such a number."""
        if value is None:
            return self.optional
        kinds = (int,) if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """A setting that is one of a few values."""

    values: tuple[Any, ...]

    def fits(self, value: Any) -> bool:
        """Tell whether a value is one of them."""
        return any(type(value) is type(known) and value == known for known in self.values)


@dataclass(frozen=True)
class Kind:
    """A kind of fitted object.

    Attributes
    ----------
    name : str
        Name in the file.
    cls : type
        Class of the object.
    arrays : mapping of str to Values
        Fitted attributes.
    settings : mapping of str to Number or Choice
        Parameters of the constructor.
    finish : callable, optional
        Takes the object with its arrays, and the numbers of the letters; sets the attributes that follow from
        them, and raises `InputError` if they do not fit.
    transforms : bool
        Whether it is a transformer; else it is a classifier.
    keep : callable, optional
        Converts a fitted object of class `of` into the object that is written.
    of : type, optional
        See `keep`.
    """

    name: str
    cls: type
    arrays: Mapping[str, Values] = field(default_factory=dict)
    settings: Mapping[str, Number | Choice] = field(default_factory=dict)
    finish: Callable[[Any, dict[str, int]], None] | None = None
    transforms: bool = False
    keep: Callable[[Any], Any] | None = None
    of: type | None = None


def _finish_pca(pca: PCA, numbers: dict[str, int]) -> None:
    pca.n_components = pca.n_components_ = numbers["o"]


def _finish_nystroem(nystroem: Nystroem, numbers: dict[str, int]) -> None:
    nystroem.n_components = nystroem._n_features_out = numbers["o"]
    nystroem.component_indices_ = np.arange(numbers["o"])


def _finish_ridge(ridge: RidgeClassifier, numbers: dict[str, int]) -> None:
    if numbers["s"] == 1:
        ridge.coef_ = ridge.coef_[0]
    ridge._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(np.arange(numbers["k"]))


def _finish_neighbours(knn: KNeighborsClassifier, numbers: dict[str, int]) -> None:
    if len(np.unique(knn._y)) < numbers["k"] or knn.n_neighbors > numbers["n"]:
        raise InputError("its rows do not have all classes, or are fewer than its neighbours")
    knn.fit(knn._fit_X, knn._y.astype(np.int64))


def _keep_svc(svc: SVC) -> SVC:
    """Return the classifier with support vectors in single precision, if that loses nothing."""
    vectors = svc.support_vectors_.astype(np.float32)
    if not np.array_equal(vectors, svc.support_vectors_):
        return svc
    kept = copy.copy(svc)
    kept.support_vectors_ = vectors
    return kept


def _finish_svc(svc: SVC, numbers: dict[str, int]) -> None:
    if svc._n_support.sum() != numbers["v"]:
        raise InputError(f"{numbers['v']} support vectors are not those of its two classes")
    # libsvm reads the memory of these arrays.
    for name, form in (
        ("support_vectors_", np.float64),
        ("_dual_coef_", np.float64),
        ("_n_support", np.int32),
    ):
        setattr(svc, name, np.ascontiguousarray(getattr(svc, name), form))
    svc._intercept_ = svc._intercept_.astype(np.float64)
    svc.support_ = np.arange(numbers["v"], dtype=np.int32)
    svc.dual_coef_, svc.intercept_ = -svc._dual_coef_, -svc._intercept_
    svc._sparse, svc._gamma, svc.fit_status_ = False, float(svc.gamma), 0
    svc._probA = svc._probB = np.empty(0)
    svc.shape_fit_ = (numbers["v"], numbers["d"])


def _finish_trees(trees: Any, numbers: dict[str, int]) -> None:
    leaves = np.count_nonzero(trees.feature_ == LEAF)
    if (leaves, numbers["n"] - leaves) != (numbers["l"], numbers["i"]):
        raise InputError("the numbers of thresholds and leaves do not fit the nodes")
    trees.link()


_SHARE = 1.001  # largest share, with rounding
_WEIGHT = Choice((None, "balanced"))
_PENALTY: dict[str, Number | Choice] = {"C": Number(), "class_weight": _WEIGHT}
_LINEAR = {"coef_": Values("sd"), "intercept_": Values("s")}
_TREES = {
    "sizes_": Values("t", low=1, counts=True),
    "feature_": Values("n", low=LEAF, codes="d"),
    "threshold_": Values("i", empty=True),
}

#: Every kind of object with arrays; `classifier` handles pipelines, one-against-rest and temperatures.
KINDS = (
    Kind(
        "standard-scaler",
        StandardScaler,
        {"mean_": Values("d"), "scale_": Values("d", low=np.finfo(float).tiny)},
        transforms=True,
    ),
    Kind(
        "pca",
        PCA,
        {"components_": Values("od"), "mean_": Values("d")},
        {"whiten": Choice((False,))},
        _finish_pca,
        True,
    ),
    Kind(
        "nystroem",
        Nystroem,
        {"components_": Values("od"), "normalization_": Values("oo")},
        {"kernel": Choice(("rbf",)), "gamma": Number()},
        _finish_nystroem,
        True,
    ),
    Kind("unit-length", Normalizer, {}, {"norm": Choice(("l2",))}, transforms=True),
    Kind("row-length", RowLength, {}, {"length": Number(1e-6, optional=True)}, transforms=True),
    Kind("logistic-regression", LogisticRegression, _LINEAR, _PENALTY),
    Kind("logistic-probe", LogisticProbe, _LINEAR, _PENALTY),
    Kind("linear-svm", LinearSVC, _LINEAR, _PENALTY),
    Kind("ridge", RidgeClassifier, _LINEAR, {"alpha": Number(), "class_weight": _WEIGHT}, _finish_ridge),
    Kind("least-squares", LeastSquaresProbe, _LINEAR),
    Kind("prototypes", Prototypes, _LINEAR),
    Kind("linear-head", LinearHead, {"coef_": Values("kd"), "intercept_": Values("k")}),
    Kind("discriminant-analysis", LinearDiscriminantAnalysis, _LINEAR, {"solver": Choice(("lsqr",))}),
    Kind(
        "naive-bayes",
        GaussianNB,
        {"theta_": Values("kd"), "var_": Values("kd", low=0), "class_prior_": Values("k", 0, _SHARE)},
        {"var_smoothing": Number()},
    ),
    Kind(
        "nearest-neighbours",
        KNeighborsClassifier,
        {"_fit_X": Values("nd"), "_y": Values("n", low=0, codes="k")},
        {
            "n_neighbors": Number(1, whole=True),
            "algorithm": Choice(("brute",)),
            "weights": Choice(("distance",)),
        },
        _finish_neighbours,
    ),
    Kind(
        "neighbour-votes",
        NeighbourVotes,
        {"rows_": Values("nd"), "codes_": Values("n", low=0, codes="k")},
        {"k": Number(1, whole=True), "temperature": Number(1e-6)},
    ),
    Kind(
        "rbf-svm",
        SVC,
        {
            "support_vectors_": Values("vd"),
            "_dual_coef_": Values("1v"),
            "_intercept_": Values("1"),
            "_n_support": Values("2", low=0, counts=True),
        },
        {"kernel": Choice(("rbf",)), "gamma": Number(), **_PENALTY},
        _finish_svc,
        keep=_keep_svc,
        of=SVC,
    ),
    Kind(
        "forest",
        PackedForest,
        {
            **_TREES,
            "counts_": Values("l", low=1, counts=True),
            "codes_": Values("m", low=0, codes="k"),
            "value_": Values("m", 0, _SHARE),
        },
        finish=_finish_trees,
        keep=pack_forest,
        of=RandomForestClassifier,
    ),
    Kind(
        "boosting",
        PackedBoosting,
        {**_TREES, "value_": Values("l"), "baseline_": Values("s")},
        finish=_finish_trees,
        keep=pack_boosting,
        of=HistGradientBoostingClassifier,
    ),
)
