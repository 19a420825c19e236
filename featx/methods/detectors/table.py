"""List the detectors: those of this package, and those of scikit-learn with settings that suit embeddings."""

from __future__ import annotations

from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx.errors import UnknownName
from featx.methods.detectors.detector import Detector
from featx.methods.detectors.mahalanobis import MahalanobisDetector
from featx.methods.detectors.neighbours import NeighborDetector
from featx.methods.detectors.wrapped import HeldOutDetector, MeanKernelSVM

#: The one-class SVM takes up to so many rows as they are, and of more rows so many principal components.
_MOST_ROWS, _COMPONENTS = 4000, 128


def _one_class_svm(n: int, dim: int, contamination: float, seed: int) -> HeldOutDetector:
    steps: list[tuple[str, object]] = [("scale", StandardScaler())]
    if n > _MOST_ROWS and dim > _COMPONENTS:
        # Time grows with n^2 d. Of fewer rows, components fit the training rows and leave out what is new.
        steps.append(("pca", PCA(n_components=_COMPONENTS, random_state=seed)))
    steps.append(("svm", MeanKernelSVM(nu=contamination)))
    return HeldOutDetector(Pipeline(steps), contamination)


def _isolation_forest(n: int, dim: int, contamination: float, seed: int) -> HeldOutDetector:
    # Trees of as many rows in every fit: scores depend on that number. Half of few rows is what remains if
    # the largest part is held out.
    samples = min(256, max(2, n // 2))
    return HeldOutDetector(IsolationForest(max_samples=samples, random_state=seed), contamination, n_parts=5)


_ALL = (
    Detector(
        "knn",
        "Nearest neighbours",
        lambda n, dim, contamination, seed: NeighborDetector(contamination=contamination),
    ),
    Detector(
        "mahalanobis",
        "Mahalanobis, Ledoit-Wolf",
        lambda n, dim, contamination, seed: MahalanobisDetector(contamination=contamination),
    ),
    Detector("ocsvm", "One-class SVM", _one_class_svm),
    Detector("isolation-forest", "Isolation forest", _isolation_forest),
)

#: Every detector by name, in the order in which results list them.
DETECTORS: dict[str, Detector] = {detector.name: detector for detector in _ALL}


def detector_names() -> tuple[str, ...]:
    """Return the names of the detectors, in the order in which results list them."""
    return tuple(DETECTORS)


def get_detector(name: str) -> Detector:
    """Return the detector of this name.

    Raises
    ------
    UnknownName
        There is no such detector; the message offers the nearest names.
    """
    if name not in DETECTORS:
        raise UnknownName("detector", name, DETECTORS)
    return DETECTORS[name]
