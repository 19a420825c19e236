"""Which images are unlike the normal ones: outlier detectors on frozen embeddings, and how they are scored.

Detectors are fitted on embeddings of normal images only and follow scikit-learn's outlier detectors:
``score_samples`` (higher = more normal), ``decision_function`` (below 0 = anomalous), ``predict`` (1 or -1),
and ``contamination``, the share of the training rows that the threshold leaves below it.
"""

from featx.methods.detectors.detectors import DETECTORS, Detector, detector_names, get_detector
from featx.methods.detectors.mahalanobis import MahalanobisDetector
from featx.methods.detectors.neighbours import NeighborDetector

__all__ = [
    "DETECTORS",
    "Detector",
    "MahalanobisDetector",
    "NeighborDetector",
    "detector_names",
    "get_detector",
]
