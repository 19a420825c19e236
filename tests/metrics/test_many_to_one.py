"""Methods against one that was named before: a family of m - 1 pairs, not of m (m - 1) / 2."""

from __future__ import annotations

import numpy as np
import pytest
from simulations import equal_methods

from featx.errors import InputError
from featx.metrics import compare_pairs


def test_only_the_pairs_with_the_reference_are_compared():
    rng = np.random.default_rng(0)
    right = equal_methods(rng, 5, 150, 0.85, 0.5)
    one, every = compare_pairs(right, reference=2), compare_pairs(right)
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(one.difference, every.difference)
    np.testing.assert_array_equal(one.p_value[others, 2], every.p_value[others, 2])
    np.testing.assert_array_equal(one.p_adjusted[2], one.p_adjusted[:, 2])
    np.testing.assert_array_equal(one.low[2, others], -one.high[others, 2])
    assert (one.p_adjusted[others, 2] <= every.p_adjusted[others, 2]).all()
    assert one.critical <= every.critical
    assert np.isnan(one.p_adjusted[np.ix_(others, others)][~np.eye(4, dtype=bool)]).all()
    for wrong in (5, -1):
        with pytest.raises(InputError, match="reference must be a row of scores, 0 to 4"):
            compare_pairs(right, reference=wrong)


@pytest.mark.parametrize("grouped", [False, True])
def test_equal_methods_are_told_apart_as_often_as_promised(grouped):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(80):
        right = equal_methods(rng, 5, 60 if grouped else 240, 0.85, 0.5)
        units = None
        if grouped:
            right, units = np.repeat(right, 4, axis=1), np.repeat(np.arange(60), 4)
        family = compare_pairs(right, units=units, reference=0, n_flips=99)
        hits += np.nanmin(family.p_adjusted[1:, 0]) <= 0.05
    assert hits <= 11  # at most 4 expected, standard deviation 2
