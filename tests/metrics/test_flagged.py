"""What a threshold from held-out scores flags of normal images, against simulated thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from featx.metrics import flagged_by_chance, share_flagged


def test_shares_and_counts_are_those_of_simulated_thresholds():
    rng = np.random.default_rng(0)
    # Of 59 normal scores the third lowest is the threshold for 5 %.
    thresholds = np.sort(rng.random((40_000, 59)), axis=1)[:, 2]
    expected = share_flagged(59, 0.05)
    assert expected.value == pytest.approx(0.05) == pytest.approx(thresholds.mean(), abs=5e-4)
    low, high = np.quantile(thresholds, [0.025, 0.975])
    assert (expected.low, expected.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=2e-3))
    counts = rng.binomial(30, thresholds)
    for found in (0, 1, 3, 6):
        assert flagged_by_chance(found, 30, 59, 0.05) == pytest.approx((counts >= found).mean(), abs=0.01)


def test_few_normal_images_flag_more_than_asked():
    assert share_flagged(9, 0.05).value == pytest.approx(0.1)
    assert flagged_by_chance(0, 5, 9, 0.05) == 1.0
