"""Nearest neighbours against PyOD, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from featx.methods.detectors import NeighborDetector


def test_new_rows_score_as_by_pyod():
    try:
        from pyod.models.knn import KNN
    except ImportError:
        pytest.skip("pyod is not installed; it is part of the dev extra")
    rng = np.random.default_rng(0)
    normal, new = rng.normal(size=(80, 6)), 2 * rng.normal(size=(30, 6))
    oracle = KNN(n_neighbors=3, method="mean", contamination=0.05).fit(normal)
    found = NeighborDetector(3, "euclidean").fit(normal)
    np.testing.assert_allclose(-found.score_samples(new), oracle.decision_function(new))
    # Training rows do not count as their own neighbours, in either.
    np.testing.assert_allclose(-found.score_samples(normal), oracle.decision_scores_, rtol=1e-6)
