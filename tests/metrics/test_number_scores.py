"""Scores of predicted numbers against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from featx.metrics import score_numbers


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
