"""A one-class support vector machine on principal components."""

from __future__ import annotations

from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from featx.methods.detectors.detector import Detector


def _build(n: int, dim: int, contamination: float, seed: int) -> Pipeline:
    # Kernel values cost time in proportion to the number of features; nu bounds the share of outliers.
    pca = PCA(n_components=min(128, dim, max(1, n // 2)), random_state=seed)
    return Pipeline([("scale", StandardScaler()), ("pca", pca), ("svm", OneClassSVM(nu=contamination))])


DETECTOR = Detector("ocsvm", "One-class SVM", _build)
