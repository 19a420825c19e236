"""The detectors that a comparison tries: two of this package's, two of scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from featx.errors import UnknownName
from featx.methods.detectors.mahalanobis import MahalanobisDetector
from featx.methods.detectors.neighbours import NeighborDetector


@dataclass(frozen=True)
class Detector:
    """A detector in the registry.

    Attributes
    ----------
    name, title : str
        What it is called in commands, and for people.
    build : callable
        Takes the number of normal rows, the number of features, the contamination and a seed; gives the
        unfitted detector.
    """

    name: str
    title: str
    build: Callable[[int, int, float, int], Any]


def _ocsvm(n: int, dim: int, contamination: float, seed: int) -> Pipeline:
    # Kernel values cost time in proportion to the number of features; nu bounds the share of outliers.
    pca = PCA(n_components=min(128, dim, max(1, n // 2)), random_state=seed)
    return Pipeline([("scale", StandardScaler()), ("pca", pca), ("svm", OneClassSVM(nu=contamination))])


_ALL = (
    Detector("knn", "Nearest neighbours", lambda n, d, c, seed: NeighborDetector(contamination=c)),
    Detector(
        "mahalanobis", "Mahalanobis, Ledoit-Wolf", lambda n, d, c, seed: MahalanobisDetector(contamination=c)
    ),
    Detector("ocsvm", "One-class SVM", _ocsvm),
    Detector(
        "isolation-forest",
        "Isolation forest",
        lambda n, d, c, seed: IsolationForest(contamination=c, random_state=seed),
    ),
)

#: Every detector by name.
DETECTORS: dict[str, Detector] = {detector.name: detector for detector in _ALL}


def detector_names() -> tuple[str, ...]:
    """Names of the detectors, in the order in which they are tried.

    Returns
    -------
    tuple of str
    """
    return tuple(DETECTORS)


def get_detector(name: str) -> Detector:
    """The detector of this name.

    Raises
    ------
    UnknownName
        There is none; the message offers the nearest.
    """
    if name not in DETECTORS:
        raise UnknownName("detector", name, DETECTORS)
    return DETECTORS[name]
