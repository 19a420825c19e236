"""The crossing: its place, its interval, and cases without one."""

from __future__ import annotations

import curve_simulations as sim
import numpy as np
import pytest
from scipy.stats import t as student

from featx.studies.curves.crossing import (
    crossing_bounds,
    describe_crossing,
    find_crossing,
    last_crossing,
    score_rival,
)
from featx.studies.curves.two_way import Pool, TwoWay, difference_errors

K = np.array([1.0, 4.0, 16.0, 64.0])
POOL = Pool.of(K / 64)


def answers(curves, n_draws, n_test):
    """Answers (..., n_levels, n_draws, n_test) that have exactly these accuracies in each draw."""
    curves = np.asarray(curves, float)[..., None, None]
    places = (np.arange(n_test) + 0.5) / n_test
    return np.broadcast_to(places < curves, (*curves.shape[:-2], n_draws, n_test)).astype(float)


def crossing(tuned, probes, n_draws=1, n_test=100, **options):
    rivals = [f"probe {i}" for i in range(len(probes))]
    tuned = tuned if np.ndim(tuned) == 3 else answers(tuned, n_draws, n_test)
    probes = probes if np.ndim(probes) == 4 else answers(probes, *tuned.shape[1:])
    names = {"method": "finetune-last", "backbone": "b", "rivals": rivals}
    return find_crossing(tuned, probes, K, pool=POOL, size=tuned.shape[2], **names, **options)


def test_it_is_interpolated_on_the_logarithm():
    found = crossing([0.5, 0.7, 0.9, 0.95], [[0.6, 0.8, 0.8, 0.8]])
    assert found.status == "within"
    assert found.shots == pytest.approx(8.0)  # half way from 4 to 16 by ratio
    assert found.rival == "probe 0"
    assert found.low is None
    assert "from one draw" in describe_crossing(found, "Tuned", 1, 64)


def test_the_rival_is_the_best_probe_of_each_level():
    found = crossing([0.5, 0.7, 0.9, 0.95], [[0.6, 0.8, 0.7, 0.7], [0.1, 0.1, 0.8, 0.9]])
    assert found.shots == pytest.approx(8.0)
    assert crossing([0.5, 0.5, 0.9, 0.9], [[0.6, 0.8, 0.7, 0.7], [0.1, 0.1, 0.8, 0.95]]).status == "none"


def test_the_last_crossing_counts_and_equal_is_not_ahead():
    assert crossing([0.7, 0.5, 0.7, 0.9], [[0.6, 0.6, 0.6, 0.6]]).shots == pytest.approx(8.0)
    assert crossing([0.5, 0.6, 0.6, 0.6], [[0.6, 0.6, 0.6, 0.6]]).status == "none"
    assert crossing([0.5, 0.6, 0.7, 0.8], [[0.6, 0.6, 0.6, 0.6]]).shots == pytest.approx(4.0)


def test_ahead_everywhere_and_nowhere_are_said_as_such():
    ahead = crossing([0.9, 0.9, 0.9, 0.9], [[0.6, 0.6, 0.6, 0.6]], 5)
    assert (ahead.status, ahead.shots, ahead.shares["before"]) == ("before", None, 1.0)
    assert "any crossing is below that range." in describe_crossing(ahead, "Tuned", 1, 64)
    behind = crossing([0.5, 0.5, 0.5, 0.5], [[0.95, 0.95, 0.95, 0.95]], 5)
    assert behind.status == "none"
    assert describe_crossing(behind, "Tuned", 1, 64) == (
        "No crossing shown: Tuned is not ahead of the best probe (probe 0) at 64 images per class."
    )


def noisy(curves, seed, n_draws=6, n_test=80):
    rng = np.random.default_rng(seed)
    curves = np.asarray(curves, float)[..., None, None]
    moved = curves + 0.03 * rng.standard_normal((*curves.shape[:-2], n_draws, 1))
    return (rng.random((*curves.shape[:-2], n_draws, n_test)) < moved).astype(float)


def test_the_interval_has_every_place_that_a_test_would_not_refuse():
    gaps = noisy([0.4, 0.55, 0.85, 0.95], 1) - noisy([0.7, 0.7, 0.7, 0.7], 2)
    log_k, found = np.log(K), TwoWay(gaps, POOL.matrix())
    low, high = crossing_bounds(found, log_k, 80)
    kept = []
    for place in np.linspace(log_k[0], log_k[-1], 500):
        weights = np.array([[np.interp(place, log_k, row) for row in np.eye(4)]])
        one = found.estimate(weights)
        error, df = difference_errors(one, 80)
        kept += [place] if abs(one.value[0]) <= student.ppf(0.975, df[0]) * error[0] else []
    assert (low, high) == pytest.approx((kept[0], kept[-1]), abs=0.05)
    assert low < last_crossing(gaps.mean(axis=(1, 2)), log_k)[1] < high


def test_the_rival_is_chosen_without_the_answers_it_is_scored_on():
    # Each of 40 probes is right by chance alone: the best looks better than half, unless it is scored afresh.
    probes = (np.random.default_rng(3).random((40, 2, 4, 60)) < 0.5).astype(float)
    assert probes.mean(axis=(2, 3)).max(axis=0).min() > 0.55
    fresh = score_rival(probes, np.random.default_rng(0))
    assert fresh.shape == (2, 4, 60)
    assert fresh.mean(axis=(1, 2)) == pytest.approx([0.5, 0.5], abs=0.04)
    # A probe that is much better is chosen everywhere; a single one is itself.
    probes[7] = probes[7] > -1
    assert (score_rival(probes, np.random.default_rng(0)) == 1).all()
    assert score_rival(probes[:1], np.random.default_rng(0)) is not probes
    np.testing.assert_array_equal(score_rival(probes[:1], np.random.default_rng(0)), probes[0])


def test_one_draw_or_one_part_is_not_halved():
    probes = noisy([[0.5] * 4, [0.9] * 4], 4)
    for some in (probes[:, :, :1], probes[:, :, :, :1]):
        found = score_rival(some, np.random.default_rng(0), halvings=3)
        assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_array_equal(
        score_rival(probes[:, :, :1, :1], np.random.default_rng(0)).shape, (4, 1, 1)
    )


def test_an_open_end_is_not_called_a_crossing_that_was_shown():
    found = crossing(noisy([0.5, 0.5, 0.5, 0.64], 5), noisy([[0.6, 0.6, 0.6, 0.6]], 6))
    said = describe_crossing(found, "Tuned", 1, 64)
    assert found.high is None
    assert "not shown" in said or "No crossing shown" in said
    assert 0 < found.shares["none"] < 1
    assert sum(found.shares.values()) == pytest.approx(1)


def test_with_equal_probes_the_crossing_is_held_and_not_late():
    population, shots = sim.Population(2.0, 9, 2.0), (5, 10, 20, 60)
    rates = sim.crossing_rates(population, shots, 24, truth=16.0, seed=4)
    assert rates["held"] >= 0.83  # 95 % of 24, less two and a half standard deviations
    assert rates["median"] == pytest.approx(16, rel=0.2)
    assert rates["median_of_best"] > 1.15 * 16
