"""The crossing: its place, its interval, and cases without one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from featx.studies.curves.crossing import describe_crossing, find_crossing

K = np.array([1.0, 4.0, 16.0, 64.0])


def crossing(tuned, probes, **options):
    tuned, probes = np.atleast_2d(tuned), np.asarray(probes, float)
    probes = probes[:, None, :].repeat(len(tuned), axis=1) if probes.ndim == 2 else probes
    rivals = [f"probe {i}" for i in range(len(probes))]
    return find_crossing(tuned, probes, K, method="finetune-last", backbone="b", rivals=rivals, **options)


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
    draws = np.tile([0.9, 0.9, 0.9, 0.9], (5, 1))
    ahead = crossing(draws, [[0.6, 0.6, 0.6, 0.6]])
    assert (ahead.status, ahead.shots, ahead.shares["before"]) == ("before", None, 1.0)
    assert "any crossing is below that range." in describe_crossing(ahead, "Tuned", 1, 64)
    behind = crossing(draws, [[0.95, 0.95, 0.95, 0.95]])
    assert behind.status == "none"
    assert describe_crossing(behind, "Tuned", 1, 64) == (
        "No crossing shown: Tuned is not ahead of the best probe (probe 0) at 64 images per class."
    )


def test_the_interval_is_that_of_a_bootstrap_written_out():
    rng = np.random.default_rng(1)
    tuned = np.array([0.5, 0.68, 0.8, 0.9]) + rng.normal(0, 0.05, (8, 4))
    probes = np.array([[0.6, 0.7, 0.78, 0.8], [0.58, 0.71, 0.76, 0.82]])[:, None] + rng.normal(
        0, 0.05, (2, 8, 4)
    )
    found = crossing(tuned, probes, n_boot=400, seed=3)
    places = []
    for chosen in np.random.default_rng(3).integers(0, 8, (400, 8)):
        ours = [np.mean([tuned[d, k] for d in chosen]) for k in range(4)]
        theirs = [max(np.mean([p[d, k] for d in chosen]) for p in probes) for k in range(4)]
        gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
        place = -math.inf
        for k in range(4):
            if gaps[k] <= 0:
                place = math.inf
                if k < 3 and gaps[k + 1] > 0:
                    share = -gaps[k] / (gaps[k + 1] - gaps[k])
                    place = math.log(K[k]) + share * math.log(K[k + 1] / K[k])
        places.append(place)
    places.sort()
    assert found.low == pytest.approx(math.exp(places[10]))
    assert found.high == (pytest.approx(math.exp(places[390])) if math.isfinite(places[390]) else None)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["within"] == pytest.approx(np.mean(np.isfinite(places)))


def test_an_open_end_is_not_called_a_crossing_that_was_shown():
    rng = np.random.default_rng(0)
    tuned = np.array([0.5, 0.5, 0.5, 0.61]) + rng.normal(0, 0.1, (6, 4))
    found = crossing(tuned, [[0.6, 0.6, 0.6, 0.6]])
    said = describe_crossing(found, "Tuned", 1, 64)
    assert found.high is None
    assert "not shown" in said or "No crossing shown" in said
    assert 0 < found.shares["none"] < 1
