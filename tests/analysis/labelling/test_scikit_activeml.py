"""What to label next, as scikit-activeml chooses it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from featx.analysis.labelling import badge, k_center, margin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of scikit-activeml, while it is imported
    pool = pytest.importorskip("skactiveml.pool", reason="needs scikit-activeml")
    classifier = pytest.importorskip("skactiveml.classifier")

LABELLED = 6


@pytest.fixture
def problem():
    """Rows, labels (NaN where there is none), and a classifier that has learnt from the labelled ones."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    X = rng.normal(size=(60, 5)) + 2 * np.eye(5)[y]
    y = y.astype(float)
    y[:3] = [0, 1, 2]
    y[LABELLED:] = np.nan
    return X, y, classifier.ParzenWindowClassifier(classes=[0, 1, 2]).fit(X, y)


def test_k_center_is_core_set(problem):
    X, y, _ = problem
    theirs = pool.CoreSet(random_state=0).query(X, y, batch_size=15)
    assert (k_center(X[LABELLED:], 15, labelled=X[:LABELLED]) + LABELLED).tolist() == list(theirs)


def test_margin_is_margin_sampling(problem):
    X, y, known = problem
    theirs = pool.UncertaintySampling("margin_sampling", random_state=0).query(
        X, y, known, fit_clf=False, batch_size=9
    )
    assert (margin(known.predict_proba(X[LABELLED:]), 9) + LABELLED).tolist() == list(theirs)


def test_badge_begins_with_the_longest_gradient(problem):
    X, y, known = problem
    theirs = pool.Badge(random_state=0).query(X, y, known, fit_clf=False)
    assert badge(X[LABELLED:], known.predict_proba(X[LABELLED:]), 1)[0] + LABELLED == theirs[0]
