"""The distance to the training images: its threshold, and how often normal images exceed it."""

from __future__ import annotations

import numpy as np
import pytest

from featx.methods.abstention import UNLIKE, Confidence, Familiarity, UnsureRule, familiarity, fit_familiarity


def rows_of(n, seed, centre=3.0, d=8):
    return np.random.default_rng(seed).normal(centre, 1, (n, d)).astype(np.float32)


def cosine_distance(a, b):
    return 1 - float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))


def slow_distance(row, others):
    return np.mean(sorted(cosine_distance(row, other) for other in others)[:2])


def test_the_threshold_is_that_of_rows_compared_with_all_others():
    rows = rows_of(150, 0)
    found = fit_familiarity(rows, np.zeros(150))
    scores = sorted(slow_distance(rows[i], np.delete(rows, i, axis=0)) for i in range(150))
    # The k-th smallest of n scores has a share of k / (n + 1) below it.
    assert found.threshold == pytest.approx(np.interp(151 * 0.99, np.arange(1, 151), scores), abs=1e-3)
    new = rows_of(20, 1)
    np.testing.assert_allclose(found.distances(new), [slow_distance(r, rows) for r in new], atol=1e-3)


def test_rows_of_the_same_group_do_not_vouch_for_one_another():
    rows = np.repeat(rows_of(30, 0), 3, axis=0) + 1e-3 * rows_of(90, 1)
    groups = np.repeat(np.arange(30), 3).astype(str)
    alone = fit_familiarity(rows, np.zeros(90))
    grouped = fit_familiarity(rows, np.zeros(90), groups)
    assert grouped.threshold > 5 * alone.threshold


def test_normal_images_exceed_it_as_rarely_as_promised(monkeypatch):
    """Mean over training sets; once with all rows kept, once with a sample and the others as new ones."""
    for most in (1000, 60):
        monkeypatch.setattr(familiarity, "_MOST_ROWS", most)
        flagged = []
        for seed in range(60):
            rows = rows_of(300, seed)
            found = fit_familiarity(rows, np.zeros(300), seed=seed)
            assert len(found.rows) == min(most, 300)
            flagged.append((found.distances(rows_of(200, 1000 + seed)) > found.threshold).mean())
        assert 0.004 < np.mean(flagged) < 0.015


def test_other_images_exceed_it():
    found = fit_familiarity(rows_of(300, 0), np.zeros(300))
    assert (found.distances(rows_of(100, 1, centre=0)) > found.threshold).mean() > 0.95


def test_every_class_is_among_the_rows_that_are_kept(monkeypatch):
    monkeypatch.setattr(familiarity, "_MOST_ROWS", 10)
    labels = np.array([0] * 500 + [1] * 5 + [2] * 1)
    marks = np.eye(3, dtype=np.float32)[labels]
    assert set(fit_familiarity(marks, labels).rows.argmax(axis=1)) == {0, 1, 2}


def test_long_rows_are_fewer():
    assert len(fit_familiarity(rows_of(600, 0, d=4096), np.zeros(600)).rows) == 256


def test_two_rows_are_too_few():
    assert fit_familiarity(rows_of(2, 0), np.zeros(2)) is None
    assert fit_familiarity(rows_of(9, 0), np.zeros(9), np.array(["a"] * 9)) is None
    assert fit_familiarity(rows_of(3, 0), np.zeros(3)) is not None


def test_the_rule_names_the_reason():
    kept = Familiarity(np.eye(3, dtype=np.float16)[:2], 0.6)
    rule = UnsureRule(Confidence(0.7, 0.95, True, 1.0, 1.0), kept)
    rows = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0], [np.nan, 0, 0]], np.float32)
    probabilities = np.array([[0.7, 0.3], [0.3, 0.69], [0.9, 0.1], [0.5, 0.5], [1, 0]])
    assert rule.reasons(rows, probabilities) == ["", "probability below 0.70", UNLIKE, UNLIKE, UNLIKE]
    assert UnsureRule(None, None).reasons(rows, probabilities) == [""] * 5
    assert rule.to_dict()["distance"] == 0.6
