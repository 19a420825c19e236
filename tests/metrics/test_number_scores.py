"""Scores of predicted numbers against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import simulated_scores
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from featx.metrics import numbers, score_numbers


def test_scores_agree_with_the_references():
    y = 100 + 5 * np.random.default_rng(0).normal(size=120)
    p = y + np.random.default_rng(2).normal(0, 4, len(y))
    scores = score_numbers(y, p, n_boot=300)
    assert scores["r2"].value == pytest.approx(r2_score(y, p))
    assert scores["mae"].value == pytest.approx(mean_absolute_error(y, p))
    assert scores["rmse"].value == pytest.approx(root_mean_squared_error(y, p))
    assert scores["spearman"].value == pytest.approx(spearmanr(y, p).statistic)
    for interval in scores.values():
        assert interval.low < interval.value < interval.high


def test_numbers_that_are_all_alike_leave_correlation_undefined():
    scores = score_numbers(np.full(9, 0.1), np.arange(9.0))
    assert np.isnan(scores["r2"].value)
    assert np.isnan(scores["spearman"].value)
    assert scores["mae"].value == pytest.approx((0.1 + 36 - 0.8) / 9)


def test_perfect_predictions_have_a_score_and_no_margin_to_estimate():
    y = np.random.default_rng(0).normal(size=30)
    found = score_numbers(y, y, n_boot=50)
    assert (found["mae"].value, found["rmse"].value, found["r2"].value) == (0, 0, 1)
    for name in ("mae", "rmse", "r2"):
        assert np.isnan(found[name].low), name
    # A perfect order of 30 numbers may be imperfect on others.
    assert found["spearman"].value == pytest.approx(1)
    assert found["spearman"].low == pytest.approx(2 * 0.025 ** (1 / 30) - 1)


def test_a_resample_is_scored_as_if_it_were_the_test_set():
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 6, 25) * 1.0, rng.integers(0, 6, 25) * 1.0
    rows = rng.integers(0, 25, (8, 25))
    w = np.stack([np.bincount(r, minlength=25) for r in rows]).astype(float)
    for metric in numbers.METRICS:
        expected = [score_numbers(y[r], p[r], n_boot=0)[metric.name].value for r in rows]
        np.testing.assert_allclose(metric.compute(y, p, w), expected, atol=1e-12)


def test_copies_of_the_images_change_no_interval_if_they_are_units():
    rng = np.random.default_rng(2)
    y = rng.normal(size=60)
    p = y + rng.normal(0, 0.5, 60)
    once = score_numbers(y, p, n_boot=2000)
    again = score_numbers(np.repeat(y, 4), np.repeat(p, 4), units=np.repeat(np.arange(60), 4), n_boot=2000)
    for name, interval in once.items():
        assert (again[name].low, again[name].high) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_the_intervals_hold_the_true_scores():
    for sizes, icc in ((np.ones(30, int), 0.0), (np.full(60, 4), 0.5)):
        rates = simulated_scores.numbers(sizes, 0.5, 200, icc=icc, n_boot=60)
        assert min(rates.values()) >= 0.92
