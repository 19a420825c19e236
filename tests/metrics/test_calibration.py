"""The interval of the calibration error."""

from __future__ import annotations

import numpy as np
import pytest
import simulated_scores

from featx.metrics import score_answers, take_answers


def interval(y, p, **options):
    return score_answers(y, take_answers(y, p, p.argmax(axis=1)), **options)["calibration_error"]


def test_a_calibrated_classifier_may_have_no_error_at_all():
    rng = np.random.default_rng(0)
    y, p = simulated_scores.answers(rng, np.ones(300, int), 5, 2.0)
    found = interval(y, p)
    assert found.low == 0 < found.value < found.high


def test_an_over_sure_classifier_has_an_error():
    rng = np.random.default_rng(0)
    y, p = simulated_scores.answers(rng, np.ones(1000, int), 5, 2.0, certainty=3.0)
    found = interval(y, p)
    assert 0.05 < found.low < found.value < found.high < 0.3
    grouped = interval(y, p, units=np.arange(1000) // 4)
    assert grouped.low <= found.low


def test_where_all_is_right_mistakes_are_possible():
    y = np.zeros(50, int)
    for sure in (0.97, 1.0):
        found = interval(y, np.tile([sure, 1 - sure], (50, 1)))
        assert found.value == pytest.approx(1 - sure)
        # Up to 7 % of mistakes are possible.
        assert found.high == pytest.approx(max(1 - sure, 0.071 - (1 - sure)), abs=0.015)


@pytest.mark.parametrize(("skill", "certainty", "n"), [(2.0, 1.0, 60), (3.0, 3.0, 60), (3.0, 3.0, 250)])
def test_the_interval_holds_the_true_error(skill, certainty, n):
    rates = simulated_scores.classes(np.ones(n, int), 2, skill, 80, certainty=certainty)
    assert rates["calibration_error"] >= 0.925
    assert rates["log_loss"] >= 0.92
