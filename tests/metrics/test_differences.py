"""The interval of a difference in accuracy on the same images."""

from __future__ import annotations

import numpy as np
import pytest
import simulated_scores
from scipy.optimize import brentq, minimize_scalar

from featx.metrics import mcnemar_exact, paired_difference
from featx.metrics.differences import pair_size, tango_bounds


def outcomes(both, only_a, only_b, neither):
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


def slow_statistic(only_a, only_b, n, difference):
    """Tango's score statistic, with the shares under a difference found by maximising the likelihood."""

    def loss(c):
        b = c + difference
        terms = ((only_a, b), (only_b, c), (n - only_a - only_b, 1 - b - c))
        return -sum(count * np.log(max(share, 1e-300)) for count, share in terms if count)

    bounds = max(0.0, -difference), (1 - difference) / 2
    c = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * c + difference - difference**2)
    return (only_a - only_b - n * difference) / np.sqrt(max(variance, 1e-300))


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(9, 3, 50), (1, 7, 21), (12, 12, 200), (2, 1, 20)])
def test_the_bounds_are_where_the_score_test_begins_to_reject(only_a, only_b, n):
    low, high = tango_bounds(only_a / n, only_b / n, n, 1.959964)
    middle = (only_a - only_b) / n
    slow_low = brentq(lambda d: slow_statistic(only_a, only_b, n, d) - 1.959964, -0.999, middle)
    slow_high = brentq(lambda d: slow_statistic(only_a, only_b, n, d) + 1.959964, middle, 0.999)
    assert (float(low), float(high)) == pytest.approx((slow_low, slow_high), abs=1e-4)


def test_the_interval_never_has_zero_width_and_changes_its_sign_with_the_methods():
    for counts in ((20, 0, 0, 0), (0, 20, 0, 0), (0, 0, 0, 20), (10, 3, 5, 2)):
        a, b = outcomes(*counts)
        there, back = paired_difference(a, b), paired_difference(b, a)
        assert there.high - there.low > 0.1
        assert (there.low, there.value, there.high) == pytest.approx((-back.high, -back.value, -back.low))
        assert there.low <= there.value <= there.high


def test_zero_lies_outside_where_the_normal_test_rejects():
    for only_a, only_b in ((4, 0), (3, 0), (15, 5), (14, 5)):
        found = paired_difference(*outcomes(30, only_a, only_b, 5))
        assert (found.low > 0) == ((only_a - only_b) ** 2 / (only_a + only_b) > 1.959964**2)


def test_copies_add_nothing_and_one_unit_tells_nothing():
    a, b = outcomes(40, 9, 3, 5)
    units = np.repeat(np.arange(len(a)), 4)
    d = np.repeat(a.astype(int) - b, 4)
    assert pair_size(d, 4.0 * (a.astype(int) - b), np.full(len(a), 4.0)) == pytest.approx(len(a))
    copied = mcnemar_exact(np.repeat(a, 4), np.repeat(b, 4), units=units)
    assert copied.p_value == pytest.approx(mcnemar_exact(a, b).p_value)
    once, wider = paired_difference(a, b), paired_difference(np.repeat(a, 4), np.repeat(b, 4), units=units)
    assert once.low - 0.01 < wider.low <= once.low  # Student's quantile in place of the normal one
    assert (paired_difference(a, b, units=np.zeros(len(a), int)).low) == -1


def test_the_interval_holds_the_true_difference():
    assert simulated_scores.paired_coverage(50, 0.9, 0.85, 0.8, 300) >= 0.93
    assert simulated_scores.paired_coverage(100, 0.99, 0.97, 0.965, 200) >= 0.94


@pytest.mark.parametrize(("groups", "of", "icc"), [(50, 5, 0.5), (25, 20, 0.9)])
def test_with_groups_equal_methods_are_told_apart_at_the_level_and_without_far_more(groups, of, icc):
    sizes = np.full(groups, of)
    known = simulated_scores.paired_levels(sizes, 0.8, icc, 200)
    assert max(known.values()) <= 0.085
    assert min(simulated_scores.paired_levels(sizes, 0.8, icc, 60, blind=True).values()) > 0.12
