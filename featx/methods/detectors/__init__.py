"""Detect anomalies: fit a detector on embeddings of normal images, and score how unlike them others are.

Detectors follow scikit-learn's: ``score_samples`` (higher = more normal), ``decision_function`` (below 0 =
anomalous), ``predict`` (1 or -1), and ``contamination``, here the share of new normal rows that the threshold
is to flag: it comes from scores of normal rows by detectors that were fitted without them (`thresholds`).
`featx.metrics.score_anomalies` scores detectors.
"""

from featx.methods.detectors.detector import Detector
from featx.methods.detectors.mahalanobis import MahalanobisDetector
from featx.methods.detectors.neighbours import NeighborDetector
from featx.methods.detectors.table import DETECTORS, detector_names, get_detector

__all__ = [
    "DETECTORS",
    "Detector",
    "MahalanobisDetector",
    "NeighborDetector",
    "detector_names",
    "get_detector",
]
