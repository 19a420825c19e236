"""The best method of a level: which others may be as good, and what its mean owes to the choice."""

from __future__ import annotations

import numpy as np
import pytest

from featx.studies.curves.leaders import compare_methods
from featx.studies.curves.two_way import Pool

POOL = Pool.of(np.array([0.2, 1.0]))


def answers(accuracies, n=200, n_draws=5, seed=0):
    """Right answers (n_methods, 2, n_draws, n); methods share which images are hard."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    own = rng.random((len(accuracies), 2, n_draws, n))
    return (0.7 * hard + 0.3 * own < np.array(accuracies)[:, None, None, None]).astype(float)


def test_a_method_that_is_clearly_worse_is_told_apart_and_a_twin_is_not():
    values = answers([0.8, 0.8, 0.5])
    for level in (0, 1):
        for best in (0, 1):
            assert compare_methods(values, level, POOL, 200, best).not_told_apart == [1 - best]
    alike = compare_methods(np.stack([values[0], values[0]]), 0, POOL, 200, 1)
    assert (alike.not_told_apart, alike.optimism) == ([0], pytest.approx(0.0, abs=1e-9))
    assert compare_methods(values[:1], 0, POOL, 200, 0).not_told_apart == []


def test_of_equal_methods_one_is_told_apart_at_most_in_five_percent_and_the_optimism_is_said():
    apart, said, excess = [], [], []
    for seed in range(120):
        values = answers([0.7] * 6, seed=seed)
        means = values[:, 0].mean(axis=(1, 2))
        lead = compare_methods(values, 0, POOL, 200, int(means.argmax()), n_resamples=400)
        apart.append(len(lead.not_told_apart) < 5)
        said.append(lead.optimism)
        # What all have in common, hard images, is no advantage of the best.
        excess.append(means.max() - means.mean())
    assert np.mean(apart) <= 0.09
    assert np.mean(said) == pytest.approx(np.mean(excess), rel=0.25)
