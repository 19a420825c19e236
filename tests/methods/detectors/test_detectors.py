"""Detectors and their scores against slow references, scikit-learn's checks, and on what they must see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import InputError, UnknownName
from featx.methods.detectors import (
    MahalanobisDetector,
    NeighborDetector,
    detector_names,
    get_detector,
)
from featx.metrics import score_anomalies


@parametrize_with_checks(
    [
        NeighborDetector(),
        NeighborDetector(metric="euclidean"),
        MahalanobisDetector(),
        MahalanobisDetector(0.5),
    ],
    expected_failed_checks=lambda detector: (
        dict.fromkeys(
            ("check_outliers_fit_predict", "check_outliers_train"),
            "the threshold suits new rows, and fewer training rows lie below it",
        )
        if isinstance(detector, MahalanobisDetector)
        else {}
    ),
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 9)) @ rng.normal(size=(9, 9)), rng.normal(size=(40, 9)) * 3


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_agree_with_all_distances(rows, metric, monkeypatch):
    monkeypatch.setattr("featx.methods.detectors.neighbours._BLOCK", 500)  # several blocks
    train, test = rows
    detector = NeighborDetector(n_neighbors=3, metric=metric).fit(train)
    unit = (lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)) if metric == "cosine" else (lambda x: x)
    distances = np.sort(cdist(unit(test), unit(train)), axis=1)
    np.testing.assert_allclose(detector.score_samples(test), -distances[:, :3].mean(axis=1), atol=1e-6)
    within = cdist(unit(train), unit(train))
    np.fill_diagonal(within, np.inf)
    others = np.sort(within, axis=1)[:, :3].mean(axis=1)
    np.testing.assert_allclose(detector.score_samples(train), -others, atol=1e-6)
    assert detector.offset_ == pytest.approx(np.sort(-others)[[2, 3]] @ [0.95, 0.05], abs=1e-6)


def test_far_from_the_origin_neighbours_are_still_exact(rows):
    train, test = (part + 1e6 for part in rows)
    nearest = cdist(test, train).min(axis=1)
    found = -NeighborDetector(1, "euclidean").fit(train).score_samples(test)
    np.testing.assert_allclose(found, nearest, rtol=1e-2)


def test_mahalanobis_agrees_with_an_explicit_inverse(rows):
    train, test = rows
    for shrinkage in ("auto", 0.3):
        detector = MahalanobisDetector(shrinkage).fit(train)
        spread = np.cov(train.T, bias=True)
        s = LedoitWolf().fit(train).shrinkage_ if shrinkage == "auto" else shrinkage
        c = (1 - s) * spread + s * np.trace(spread) / 9 * np.eye(9)
        expected = [np.sqrt((x - train.mean(0)) @ np.linalg.inv(c) @ (x - train.mean(0))) for x in test]
        np.testing.assert_allclose(detector.score_samples(test), -np.array(expected), atol=1e-6)
        assert detector.shrinkage_ == pytest.approx(s)


@pytest.mark.parametrize("name", detector_names())
def test_every_detector_finds_what_is_far_away(name):
    rng = np.random.default_rng(1)
    centre = np.repeat([5.0, 0.0], 6)
    normal, far = rng.normal(size=(300, 12)) + centre, rng.normal(size=(50, 12)) + centre[::-1]
    detector = get_detector(name).build(200, 12, 0.05, 0).fit(normal[:200])
    scores = np.r_[detector.score_samples(normal[200:]), detector.score_samples(far)]
    found = score_anomalies(scores, np.arange(150) >= 100, n_boot=0)
    assert found.each["auroc"][0].value > 0.99
    assert (detector.predict(far) == -1).mean() > 0.9
    assert (detector.predict(normal[200:]) == 1).mean() > 0.75


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: NeighborDetector(n_neighbors=0).fit(x), "n_neighbors must be a whole number"),
        (lambda x: NeighborDetector(metric="l1").fit(x), "unknown metric 'l1'; known: euclidean, cosine"),
        (
            lambda x: NeighborDetector(contamination=0.6).fit(x),
            "contamination must lie above 0 and up",
        ),
        (lambda x: MahalanobisDetector("max").fit(x), "shrinkage must be 'auto' or from 0 to 1, got 'max'"),
        (lambda x: MahalanobisDetector(0.0).fit(x[:5]), "of 5 rows of 9 features .* has no inverse"),
    ],
)
def test_what_cannot_be_used_is_named(rows, call, message):
    with pytest.raises(InputError, match=message):
        call(rows[0])
    with pytest.raises(UnknownName, match="did you mean knn"):
        get_detector("knnn")


@pytest.mark.parametrize("name", detector_names())
def test_a_decision_does_not_depend_on_the_rows_beside_it(name):
    rng = np.random.default_rng(0)
    normal, new = rng.normal(size=(60, 8)).astype(np.float32), rng.normal(size=(20, 8)).astype(np.float32)
    model = get_detector(name).build(60, 8, 0.05, 0).fit(normal)
    together = model.decision_function(new)
    np.testing.assert_allclose(model.decision_function(new[::-1])[::-1], together, atol=1e-6)
    alone = np.concatenate([model.decision_function(row[None]) for row in new[:3]])
    np.testing.assert_allclose(alone, together[:3], atol=1e-6)
