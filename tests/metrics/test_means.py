"""Intervals of means of skewed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import simulated_scores
from scipy.stats import t, ttest_1samp

from featx.errors import InputError
from featx.metrics import mean_interval


def test_the_bounds_solve_halls_transformation():
    x = np.random.default_rng(0).exponential(2.0, 30)
    n, s, g = len(x), x.std(), ((x - x.mean()) ** 3).mean() / x.std() ** 3

    def h(truth):
        z = math.sqrt(n) * (x.mean() - truth) / s
        return z + g * z**2 / (3 * n**0.5) + g**2 * z**3 / (27 * n) + g / (6 * n**0.5)

    found = mean_interval(x)
    quantile = t.ppf(0.975, n - 1) * math.sqrt(n / (n - 1))
    assert found.value == pytest.approx(x.mean())
    assert (h(found.low), h(found.high)) == pytest.approx((quantile, -quantile))
    assert found.high - found.value > found.value - found.low


def test_of_symmetric_values_the_interval_is_students():
    x = np.random.default_rng(0).normal(size=25)
    reference = ttest_1samp(x, 0).confidence_interval(0.9)
    found = mean_interval(x, level=0.9, skewed=False)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    mirrored = np.r_[x, -x]
    assert mean_interval(mirrored).low == pytest.approx(mean_interval(mirrored, skewed=False).low)


def test_copies_add_nothing():
    x = np.random.default_rng(0).exponential(size=40)
    once, again = mean_interval(x), mean_interval(np.repeat(x, 5), units=np.repeat(np.arange(40), 5))
    assert (once.low, once.high) == pytest.approx((again.low, again.high))


def test_values_that_do_not_vary_have_no_interval():
    for x, units in (([0.1] * 9, None), ([2.0], None), ([1.0, 2.0], [0, 0])):
        assert math.isnan(mean_interval(x, units=units).low)
    assert mean_interval([0.0, 0.0, 0.1], within=(0, 1)).low >= 0
    with pytest.raises(InputError, match="finite"):
        mean_interval([1.0, np.inf])


def test_the_interval_of_skewed_losses_holds_the_truth():
    def draw(rng, n):
        return rng.exponential(1.0, n)

    assert simulated_scores.means(draw, 1.0, np.ones(50, int), 700)[0] >= 0.93
    covered, above = simulated_scores.means(draw, 1.0, np.full(60, 4), 700, icc=0.5)
    assert covered >= 0.93
    assert above <= 0.04
