"""Thresholds from held-out scores: what they flag of new normal rows, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.svm import OneClassSVM

from featx.errors import InputError
from featx.methods.detectors import MahalanobisDetector, NeighborDetector, detector_names, get_detector
from featx.methods.detectors.thresholds import conformal_p_values, held_out_parts, held_out_threshold
from featx.methods.detectors.wrapped import MeanKernelSVM


@pytest.mark.parametrize("name", detector_names())
def test_new_normal_rows_are_flagged_as_often_as_asked(name):
    shares = []
    for draw in range(6):
        rng = np.random.default_rng(draw)
        # Fewer rows than features: a Mahalanobis distance puts every new row beyond all training rows.
        rows = np.maximum(rng.normal(size=(350, 120)) * np.arange(1.0, 121) ** -0.5, 0)
        detector = get_detector(name).build(50, 120, 0.1, draw)
        if name == "isolation-forest":
            detector.set_params(detector__n_estimators=12)  # less work
        detector.fit(rows[:50])
        assert len(detector.held_out_scores_) == 50
        shares.append((detector.decision_function(rows[50:]) < 0).mean())
    # A threshold of one draw flags 0.1 with a standard deviation of 0.04.
    assert 0.05 < np.mean(shares) < 0.15


@pytest.mark.parametrize(
    ("n", "dim", "groups", "shrinkage"),
    [
        (12, 40, None, "auto"),
        (60, 6, None, "auto"),
        (40, 60, np.arange(40) // 4, "auto"),
        (50, 9, np.arange(50) // 7, 0.3),
        (40, 6, None, 0.0),
    ],
)
def test_mahalanobis_without_some_rows_is_a_fit_without_them(n, dim, groups, shrinkage):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))
    expected = np.empty(n)
    for part in held_out_parts(n, groups, 200):
        others = MahalanobisDetector(shrinkage).fit(np.delete(rows, part, axis=0))
        expected[part] = others.score_samples(rows[part])
    found = MahalanobisDetector(shrinkage).fit(rows, groups=groups).held_out_scores_
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_rows_of_a_group_are_not_neighbours_of_one_another():
    rng = np.random.default_rng(0)
    groups = np.arange(60) % 20
    rows = rng.normal(size=(20, 5))[groups] + 0.01 * rng.normal(size=(60, 5))
    detector = NeighborDetector(n_neighbors=2, metric="euclidean").fit(rows, groups=groups)
    distances = cdist(rows, rows)
    distances[groups[:, None] == groups] = np.inf
    np.testing.assert_allclose(detector.held_out_scores_, -np.sort(distances, axis=1)[:, :2].mean(axis=1))
    alone = NeighborDetector(n_neighbors=2, metric="euclidean")
    assert detector.offset_ < 10 * alone.fit(rows).offset_ < 0  # within a group all is near
    assert alone.fit(rows, groups=np.arange(60)).offset_ == alone.fit(rows).offset_


def test_parts_keep_groups_together_and_leave_enough_to_fit_on():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 200).astype(str)
    parts = held_out_parts(200, groups, 7)
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert len(parts) == 7
    for part in parts:
        assert not set(groups[part]) & set(np.delete(groups, part))
    large = np.where(np.arange(40) < 30, 0, np.arange(40))
    assert sorted(np.concatenate(held_out_parts(40, large, 5))) == list(range(30, 40))
    assert held_out_parts(40, large // 35) == held_out_parts(3) == []
    assert (len(held_out_parts(30)), len(held_out_parts(300))) == (10, 5)
    with pytest.raises(
        InputError, match="groups must have one value for each of 40 rows, got shape \\(2,\\)"
    ):
        held_out_parts(40, [1, 2])
    few = MahalanobisDetector().fit(rng.normal(size=(3, 4)))  # none can be held out
    assert np.isfinite(few.offset_)


def test_the_threshold_and_p_values_count_a_new_row_among_the_normal_ones():
    # Scores at 1/20, ..., 19/20: of a uniform new one, a share of 0.05 lies below the lowest.
    scores = np.random.default_rng(0).permutation(np.arange(1, 20) / 20)
    assert held_out_threshold(scores, 0.05) == pytest.approx(0.05)
    assert held_out_threshold(scores, 0.12) == pytest.approx(0.12)
    assert held_out_threshold(scores, 0.01) == 1 / 20
    new = np.array([0.0, 0.05, 0.5, 2.0])
    expected = [(1 + sum(s <= x for s in scores)) / 20 for x in new]
    np.testing.assert_allclose(conformal_p_values(new, scores), expected)


def test_scores_of_the_one_class_svm_do_not_grow_with_the_rows():
    rows = np.random.default_rng(0).normal(size=(80, 4))
    ours, theirs = MeanKernelSVM(nu=0.2).fit(rows), OneClassSVM(nu=0.2).fit(rows)
    np.testing.assert_allclose(ours.score_samples(rows) * 0.2 * 80, theirs.score_samples(rows))
    assert ours.score_samples(rows).max() < 1


def test_the_only_row_that_differs_is_as_far_from_the_others_as_numbers_go():
    rows = np.ones((20, 4))
    rows[3] = 0
    detector = MahalanobisDetector().fit(rows)
    assert np.isfinite(detector.held_out_scores_).all()
    assert detector.held_out_scores_.argmin() == 3
    assert detector.p_values(rows[:3]).min() > 0.5
