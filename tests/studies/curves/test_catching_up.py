"""Where a reference without a network keeps up with the best probe."""

from __future__ import annotations

import numpy as np
import pytest

from featx.results import CurveLevel
from featx.studies.curves.catching_up import describe_reference_gap, find_reference_gap
from featx.studies.curves.two_way import Pool

LEVELS = [CurveLevel(k, 2 * k, float(k)) for k in (10, 100, 1000)]
POOL = Pool.of(np.array([0.01, 0.1, 0.4]))


def gap_of(accuracies, probes=(0.80, 0.82, 0.84)):
    """The gap of a reference with these accuracies at the three levels: 6 draws, 100 parts of 10 texts."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.05, (1, 1, 100))

    def scores(values):
        noise = rng.normal(0, 0.02, (3, 6, 100))
        return np.clip(np.array(values)[:, None, None] + hard + noise, 0, 1)

    reference = scores(accuracies)
    best, other = scores(probes), scores(np.array(probes) - 0.1)
    about = {"pool": POOL, "size": 1000.0, "method": "tfidf", "rivals": ["LDA", "Nearest neighbours"]}
    return find_reference_gap(reference, np.stack([best, other]), LEVELS, **about)


def test_it_keeps_up_from_the_level_after_the_last_one_at_which_it_is_worse():
    gap = gap_of((0.6, 0.7, 0.839))
    assert (gap.shots, gap.rival) == (1000, "LDA")
    assert gap.differences["100"].value == pytest.approx(-0.12, abs=0.01)
    assert gap.differences["100"].high < 0 < gap.differences["1000"].high
    said = describe_reference_gap(gap, "TF-IDF", LEVELS, "text")
    assert "not shown to be worse than the best probe (LDA) from 1000 texts per class on (" in said
    assert "; at 100 texts per class it is (−12" in said


def test_it_never_does_where_it_is_worse_at_the_last():
    gap = gap_of((0.6, 0.82, 0.7))
    assert gap.shots is None
    said = describe_reference_gap(gap, "TF-IDF", LEVELS, "text")
    assert "is shown to be worse than the best probe (LDA) at the most labels tried, 1000 texts" in said


def test_it_says_where_it_is_ahead_and_that_it_always_keeps_up():
    said = describe_reference_gap(gap_of((0.7, 0.7, 0.8), probes=(0.6, 0.6, 0.65)), "TF-IDF", LEVELS, "text")
    assert "from 10 texts per class on (+10" in said
    assert "at 1000 texts per class it is shown to be better (+15" in said
    late = describe_reference_gap(gap_of((0.5, 0.5, 0.8), probes=(0.6, 0.6, 0.65)), "TF-IDF", LEVELS, "text")
    assert "from 1000 texts per class on, where it is shown to be better (+15" in late
