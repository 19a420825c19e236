"""Intervals over draws and test images: their parts by a slow reference, coverage where truth is known."""

from __future__ import annotations

import math

import curve_simulations as sim
import numpy as np
import pytest
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from featx.studies.curves.two_way import (
    Estimate,
    Pool,
    TwoWay,
    difference_errors,
    share_intervals,
    student_intervals,
)

POOL = Pool.of(np.array([0.1, 0.4, 0.8, 1.0]))


def test_the_pool_is_known_from_draws_that_share_half_at_most():
    assert POOL.source.tolist() == [0, 1, 1, 1]
    assert POOL.weights() ** 2 == pytest.approx([1 / 9, 2 / 3, 2 / 3, 2 / 3])
    unknown = Pool.of(np.array([0.8, 1.0]))
    assert not unknown.known
    assert not unknown.matrix().any()


def test_the_parts_are_those_of_sums_written_out():
    x = np.random.default_rng(0).random((2, 4, 5)) + np.random.default_rng(1).random((2, 4, 1))
    found = TwoWay(x, np.diag([0.5, 2.0])).estimate(np.array([[1.0, 0.0], [-1.0, 1.0]]))
    for i, (series, factors) in enumerate(((x[0], (x[0] * 0.5,)), (x[1] - x[0], (x[1] * 2 - x[0] * 0.5,)))):

        def components(z):
            j, g = z.shape
            mean = z.mean()
            rows = sum((z[a].mean() - mean) ** 2 for a in range(j)) / (j - 1)
            columns = sum((z[:, u].mean() - mean) ** 2 for u in range(g)) / (g - 1)
            rest = sum(
                (z[a, u] - z[a].mean() - z[:, u].mean() + mean) ** 2 for a in range(j) for u in range(g)
            ) / ((j - 1) * (g - 1))
            return rows, columns, rest

        rows, columns, rest = components(series)
        pool_rows, _, pool_rest = components(factors[0])
        assert found.value[i] == pytest.approx(series.mean())
        assert found.test[i] == pytest.approx(columns / 5)
        own, pool = max(rows - rest / 5, 0) / 4, max(pool_rows - pool_rest / 5, 0)
        assert found.training[i] == pytest.approx(own + pool)
    # Satterthwaite, for the first.
    rows, columns, rest = components(x[0])
    parts = (rows * (1 / 4 + 1 / 4)) ** 2 / 3 + (rest / 5 * (1 / 4 + 1 / 4)) ** 2 / 12
    assert found.df(found.test)[0] == pytest.approx(
        (found.test[0] + found.training[0]) ** 2 / (found.test[0] ** 2 / 4 + parts)
    )


def test_a_single_method_that_always_answers_alike_gets_wilsons_interval():
    right = np.arange(100) < 93
    x = np.broadcast_to(right, (1, 3, 100)).astype(float)
    (found,) = share_intervals(TwoWay(x, np.zeros((1, 1))).estimate(np.eye(1)), 100)
    assert found.value == pytest.approx(0.93)
    level = 1 - 2 * float(norm.sf(student.ppf(0.975, 99)))
    wilson = binomtest(93, 100).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=2e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_interval_has_zero_width(value):
    found = TwoWay(np.full((2, 5, 40), value), np.eye(2)).estimate(np.eye(2))
    for interval in share_intervals(found, 40):
        assert interval.low <= value <= interval.high
        assert 0.08 < interval.high - interval.low < 0.1  # Wilson's z^2 / (n + z^2) is 0.088
    errors, _ = difference_errors(TwoWay(np.zeros((1, 5, 40)), np.eye(1)).estimate(np.eye(1)), 40)
    assert errors[0] == pytest.approx(math.sqrt(2 / 42 / 40))
    (same,) = student_intervals(TwoWay(np.full((1, 5, 40), 0.3), np.eye(1)).estimate(np.eye(1)))
    assert math.isnan(same.low)


def test_a_covariance_has_the_variances_of_its_estimates():
    x = np.random.default_rng(3).random((4, 6, 50)) + np.random.default_rng(4).random((4, 6, 1))
    found = TwoWay(x, POOL.matrix())
    alone = found.estimate(np.eye(4))
    covariance = found.covariance(np.eye(4))
    assert np.diag(covariance) == pytest.approx(alone.test + alone.training, rel=0.2)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    assert found.covariance(np.eye(4)[1:2])[0, 0] == pytest.approx(alone.test[1] + alone.training[1])


def test_the_bounds_of_other_numbers_are_clipped():
    one = Estimate(np.array([0.01]), np.array([1e-4]), np.array([0.0]), np.array([0.0]), 100)
    (found,) = student_intervals(one, (0.0, math.inf))
    assert found.low == 0.0
    assert found.high == pytest.approx(0.01 + 1.984 * 0.01, abs=1e-4)


def test_intervals_have_the_true_accuracy_at_all_shots():
    shots = (1, 10, 20, 60)
    truth = (0.704, 0.904, 0.927, 0.941)  # `true_accuracies`
    rates = sim.interval_rates(sim.Population(3.0), shots, 100, truth=truth, seed=2)
    # Of 100 experiments 95 % +- 2 standard deviations, and what intervals over the draws alone do.
    assert (rates["held"] >= 0.90).all()
    assert (rates["above"] <= 0.08).all()
    assert rates["over_draws"][-1] == 0.0
    assert (rates["over_draws"][1:] < 0.75).all()
