"""Paired tests, effect sizes and intervals."""

import math
from math import comb

import numpy as np
import pytest
import simulations
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import InputError
from featx.metrics import (
    cohens_d_z,
    cohens_g,
    cohens_h,
    matched_odds_ratio,
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    sign_flip_test,
)
from featx.metrics.intervals import student_interval


def slow_p_value(n_a, n_b):
    """Sum of the probabilities of all divisions that are no likelier than the one observed."""
    n = n_a + n_b
    return sum(comb(n, k) for k in range(n + 1) if comb(n, k) <= comb(n, n_a)) / 2**n


def outcomes(both, only_a, only_b, neither):
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


@settings(max_examples=50, deadline=None)
@given(*[st.integers(0, 15)] * 4)
def test_the_p_value_is_the_exact_binomial_one(both, only_a, only_b, neither):
    if both + only_a + only_b + neither == 0:
        return
    test = mcnemar_exact(*outcomes(both, only_a, only_b, neither))
    assert test.p_value == pytest.approx(slow_p_value(only_a, only_b))
    assert (test.n_only_a, test.n_only_b) == (only_a, only_b)
    assert test.difference == pytest.approx((only_a - only_b) / (both + only_a + only_b + neither))


def test_known_values():
    assert mcnemar_exact(*outcomes(10, 6, 0, 3)).p_value == 0.03125
    assert mcnemar_exact(*outcomes(10, 5, 5, 3)).p_value == 1.0


def test_a_published_table_gives_the_published_p_values():
    # Fagerland et al. (2013), table 1 and section "Examples": airway hyper-responsiveness before and after
    # stem cell transplantation (Bentur et al. 2009), 1 and 7 discordant of 21 children.
    a, b = outcomes(1, 1, 7, 12)
    assert mcnemar_exact(a, b).p_value == pytest.approx(0.070, abs=0.0005)
    assert mcnemar_mid_p(a, b).p_value == pytest.approx(0.039, abs=0.0005)


@pytest.mark.parametrize(("n_a", "n_b"), [(0, 0), (3, 3), (2, 9), (9, 2), (0, 1)])
def test_the_mid_p_value_counts_half_of_what_was_observed(n_a, n_b):
    a, b = outcomes(4, n_a, n_b, 4)
    exact, mid = mcnemar_exact(a, b), mcnemar_mid_p(a, b)
    n = n_a + n_b
    likely = comb(n, n_a) / 2**n if n else 0.0
    # Of two tails, both lose a half; a division in the middle is a single term.
    assert exact.p_value - mid.p_value == pytest.approx(likely if n_a != n_b else likely / 2)
    assert (mid.difference, mid.low, mid.high) == (exact.difference, exact.low, exact.high)


def test_simulations_use_the_p_values_of_the_tests():
    for n_a, n_b in ((0, 0), (3, 3), (2, 9), (0, 1)):
        a, b = outcomes(4, n_a, n_b, 4)
        expected = mcnemar_exact(a, b).p_value, mcnemar_mid_p(a, b).p_value
        assert simulations.mcnemar_p_values(n_a, n_b) == pytest.approx(expected)


def test_methods_that_never_disagree_do_not_differ():
    test = mcnemar_exact([True, False, True], [True, False, True])
    assert (test.p_value, test.difference, test.effect) == (1.0, 0.0, 0.0)
    # Three images on which two methods agree do not show that they always do.
    z2 = 1.959964**2
    assert (test.low, test.high) == pytest.approx((-z2 / (3 + z2), z2 / (3 + z2)))


def test_swapping_the_methods_swaps_the_signs():
    a, b = outcomes(50, 12, 4, 10)
    there, back = mcnemar_exact(a, b), mcnemar_exact(b, a)
    assert there.p_value == back.p_value
    assert there.difference == -back.difference
    assert there.low == pytest.approx(-back.high)


def test_the_test_carries_the_interval_of_the_difference():
    a, b = outcomes(50, 12, 4, 10)
    test, interval = mcnemar_exact(a, b), paired_difference(a, b)
    assert (test.low, test.difference, test.high) == (interval.low, interval.value, interval.high)
    assert test.low < test.difference < test.high


def test_the_paired_interval_agrees_with_resampling_images():
    a, b = outcomes(120, 25, 10, 45)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 200, (20_000, 200))
    draws = a[drawn].mean(1) - b[drawn].mean(1)
    interval = paired_difference(a, b)
    assert interval.low == pytest.approx(np.percentile(draws, 2.5), abs=0.008)
    assert interval.high == pytest.approx(np.percentile(draws, 97.5), abs=0.008)
    narrow = paired_difference(a, b, level=0.5)
    assert interval.low < narrow.low < narrow.high < interval.high


def test_the_paired_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        u = rng.random(200)
        interval = paired_difference(u < 0.8, (u < 0.7) | (u > 0.97))
        covered += interval.low <= 0.07 <= interval.high
    assert 0.9 <= covered / 300 <= 0.985


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([True], [True, False], r"shape \(1,\) and \(2,\)"),
        (np.array([], bool), np.array([], bool), "at least one"),
        ([[True]], [[True]], r"shape \(1, 1\)"),
        ([1, 0], [0, 1], "must be boolean"),
    ],
)
def test_results_that_cannot_be_paired_are_refused(a, b, message):
    for compare in (mcnemar_exact, paired_difference):
        with pytest.raises(InputError, match=message):
            compare(a, b)


def test_sign_flips_agree_with_scipy_on_few_and_on_many_images():
    from scipy.stats import permutation_test

    rng = np.random.default_rng(0)
    for n in (8, 60):
        a, b = rng.exponential(1.0, n), rng.exponential(1.3, n)
        reference = permutation_test(
            (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", rng=1
        )
        test = sign_flip_test(a, b)
        assert test.p_value == pytest.approx(reference.pvalue, abs=1e-9 if n == 8 else 0.02)
        assert test.difference == pytest.approx((a - b).mean())
        assert test.low < test.difference < test.high


def test_errors_that_never_differ_are_no_evidence():
    assert sign_flip_test([1.0, 2.0], [1.0, 2.0]).p_value == 1


def test_errors_of_different_images_are_refused():
    with pytest.raises(InputError, match="compared on the same images"):
        sign_flip_test([1.0], [1.0, 2.0])


def test_the_effect_sizes_of_worked_examples():
    # Cohen (1988): g is the distance of a proportion from a half; h from table 6.2.2, phi(0.99) - phi(0.50).
    assert cohens_g(65, 35) == pytest.approx(0.15)
    assert cohens_h(0.99, 0.50) == pytest.approx(2.941 - 1.571, abs=0.001)
    assert cohens_d_z([1.0, 2.0, 3.0, 4.0]) == pytest.approx(2.5 / np.std([1, 2, 3, 4], ddof=1))
    assert matched_odds_ratio(21, 7) == 3


@pytest.mark.parametrize("effect", [cohens_g, lambda a, b: cohens_h(a / 20, b / 20), lambda a, b: a - b])
def test_effects_change_their_sign_with_the_methods(effect):
    assert effect(12, 4) == pytest.approx(-effect(4, 12))
    assert effect(12, 4) > 0


def test_effects_at_their_ends():
    assert cohens_g(0, 0) == 0
    assert cohens_h(1, 0) == pytest.approx(math.pi)
    assert cohens_d_z([0.0, 0.0]) == 0
    assert cohens_d_z([-0.3, -0.3, -0.3]) == -math.inf
    assert math.isnan(cohens_d_z([0.3]))
    assert matched_odds_ratio(3, 0) == math.inf
    assert math.isnan(matched_odds_ratio(0, 0))
    for wrong in (lambda: cohens_h(1.2, 0), lambda: cohens_g(-1, 2), lambda: matched_odds_ratio(1, -1)):
        with pytest.raises(InputError):
            wrong()


def test_the_paired_tests_carry_their_effects():
    assert mcnemar_exact(*outcomes(50, 12, 4, 10)).effect == pytest.approx(0.25)
    a, b = [3.0, 2.0, 5.0], [1.0, 1.0, 2.0]
    assert sign_flip_test(a, b).effect == pytest.approx(2.0)


def test_without_a_difference_the_paired_tests_reject_at_their_level():
    exact, mid = simulations.mcnemar_rates(1000, 0.8, 2000)
    assert 0.035 <= exact <= mid <= 0.065
    assert simulations.sign_flip_rate(40, 1500, n_flips=499) == pytest.approx(0.05, abs=0.015)


def test_of_few_disagreements_the_exact_test_is_the_more_cautious_one():
    exact, mid = simulations.mcnemar_rates(240, 0.9, 1500)
    assert exact < 0.035 <= mid <= 0.065


def test_students_own_worked_example():
    # Student (1908), section IX: 10 differences, mean 1.58, t = 4.06 with 9 degrees of freedom.
    extra_sleep = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    found = student_interval(extra_sleep / 10, 1 / 10, 0.95)
    assert found.value == pytest.approx(0.158)
    assert (found.low, found.high) == pytest.approx((0.07001142, 0.24598858), abs=1e-8)
