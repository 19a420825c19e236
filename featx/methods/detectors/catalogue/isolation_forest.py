"""Random trees, in which anomalies stand alone after few splits."""

from __future__ import annotations

from sklearn.ensemble import IsolationForest

from featx.methods.detectors.detector import Detector

DETECTOR = Detector(
    "isolation-forest",
    "Isolation forest",
    lambda n, dim, contamination, seed: IsolationForest(contamination=contamination, random_state=seed),
)
