"""Families of pairs by max-T, references, and the winner's curse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import simulated_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import InputError
from featx.metrics import (
    compare_pairs,
    compare_with_references,
    holm_over_pairs,
    mcnemar_exact,
    paired_difference,
    selection_optimism,
    sign_flip_test,
)
from featx.metrics.paired import all_signs, flip_probabilities
from featx.metrics.pairs import detectable_difference, step_down


def answers(m=4, n=120, seed=0, better=0.0):
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    skill = 0.75 + better * np.arange(m)
    return rng.random((m, n)) < np.clip(skill[:, None] + 0.2 * (hard - 0.5), 0, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_the_distribution_of_random_signs_is_that_of_all_signs(sums):
    d = np.array(sums, float)
    found = np.abs(all_signs(len(d)) @ d)
    further, as_far = flip_probabilities(d)
    assert further == pytest.approx((found > abs(d.sum())).mean())
    assert as_far == pytest.approx((found == abs(d.sum())).mean())


def slow_step_down(found, drawn):
    """Adjusted p-values, one hypothesis after another, as Westfall and Young write them."""
    order, adjusted, previous = np.argsort(-found), np.empty(len(found)), 0.0
    for step, i in enumerate(order):
        left = order[step:]
        hits = sum(row[left].max() >= found[i] for row in drawn)
        previous = max(previous, (hits + 1) / (len(drawn) + 1))
        adjusted[i] = previous
    return adjusted


def test_the_step_down_method_is_that_of_westfall_and_young():
    rng = np.random.default_rng(0)
    for _ in range(20):
        found, drawn = np.abs(rng.normal(size=6)) * 1.5, np.abs(rng.normal(size=(99, 6)))
        np.testing.assert_allclose(step_down(found, drawn), slow_step_down(found, drawn))


def test_each_pair_is_that_of_the_paired_test():
    x = answers()
    units = np.repeat(np.arange(40), 3)
    for of in (None, units):
        found = compare_pairs(x, units=of, n_flips=499)
        for i in range(4):
            for j in range(4):
                test = mcnemar_exact(x[i], x[j], units=of)
                assert found.p_value[i, j] == pytest.approx(test.p_value)
                assert found.difference[i, j] == pytest.approx(test.difference)
                if i != j:
                    assert found.low[i, j] <= test.low <= test.high <= found.high[i, j]
        assert (found.p_adjusted >= found.p_value).all()
        np.testing.assert_array_equal(found.p_adjusted, found.p_adjusted.T)
        np.testing.assert_allclose(found.low, -found.high.T)


def test_a_pair_alone_needs_no_adjustment():
    x = answers(2, 200, better=0.12)
    found = compare_pairs(x)
    assert found.p_adjusted[0, 1] == pytest.approx(found.p_value[0, 1], abs=0.01)
    alone = paired_difference(x[0], x[1])
    assert found.low[0, 1] == pytest.approx(alone.low, abs=0.01)


def test_max_t_finds_what_holm_finds_and_more():
    x = answers(6, 300, better=0.03)
    found = compare_pairs(x)
    adjusted = holm_over_pairs(found.p_value)
    assert (found.p_adjusted <= adjusted + 0.01).mean() > 0.9
    assert found.p_adjusted.sum() < adjusted.sum() - 1


def test_numbers_are_compared_by_the_sign_flip_test():
    rng = np.random.default_rng(0)
    errors = rng.exponential(1.0, (3, 80)) * np.array([[1.0], [1.0], [1.5]])
    found = compare_pairs(-errors)
    test = sign_flip_test(errors[2], errors[0])
    assert found.p_value[2, 0] == pytest.approx(test.p_value, abs=0.02)
    assert found.difference[2, 0] == pytest.approx(-test.difference)
    assert found.low[2, 0] < -test.high < -test.low < found.high[2, 0]
    assert found.detectable[2, 0] > 0


def test_methods_that_never_differ_are_equal_with_a_margin():
    x = np.tile(answers(1, 50), (3, 1))
    found = compare_pairs(x, n_flips=99)
    assert (found.p_adjusted == 1).all()
    assert found.high[0, 1] == -found.low[0, 1] > 0.05
    assert 0.1 < found.detectable[0, 1] < 0.3
    same = compare_pairs(np.ones((2, 5)), n_flips=9)
    assert math.isnan(same.low[0, 1])
    assert math.isnan(same.detectable[0, 1])
    assert compare_pairs(x[:1]).p_adjusted.tolist() == [[1.0]]


def test_the_detectable_difference_is_shown_four_times_in_five():
    rng = np.random.default_rng(0)
    n, critical, disagree = 400, 1.959964, 0.2
    d = float(detectable_difference(disagree, n, critical))
    counts = rng.multinomial(n, [(disagree + d) / 2, (disagree - d) / 2, 1 - disagree], size=4000)
    a, b = counts[:, 0], counts[:, 1]
    assert (np.abs(a - b) > critical * np.sqrt(a + b)).mean() == pytest.approx(0.8, abs=0.03)
    # Where they never disagreed, all disagreements to come would be in favour of one.
    assert detectable_difference(0.0, 100, 1.96) == pytest.approx((1.96 + 0.84) ** 2 / 100, rel=0.05)


def test_among_equal_methods_some_are_told_apart_at_the_level():
    rates = simulated_scores.family(5, np.ones(250, int), 0.9, 0.0, 200)
    assert rates["Holm"] <= rates["max-T"] <= 0.085
    assert rates["intervals"] <= 0.085
    assert simulated_scores.family(5, np.full(25, 20), 0.8, 0.9, 60)["max-T"] <= 0.1
    assert simulated_scores.references(6, 3, np.ones(200, int), 0.0, 120) <= 0.09


def test_a_method_better_than_a_reference_is_found_and_one_that_is_worse_is_not():
    x = answers(3, 300, better=0.08)
    p = compare_with_references(x[1:], x[:1])
    assert p.shape == (2, 1)
    assert p[1, 0] < 0.01
    assert compare_with_references(x[:1], x[1:]).min() > 0.5
    one = mcnemar_exact(x[2], x[0]).p_value / 2
    assert compare_with_references(x[2:], x[:1])[0, 0] == pytest.approx(one, abs=0.01)


@pytest.mark.parametrize("call", [compare_pairs, selection_optimism, lambda x: compare_with_references(x, x)])
def test_scores_that_cannot_be_compared_are_refused(call):
    for wrong in (np.ones(3), np.ones((2, 0)), [[1.0, np.nan]]):
        with pytest.raises(InputError, match="scores must be finite numbers"):
            call(wrong)


def test_options_out_of_range_are_refused():
    x = answers(2, 10)
    for options, message in (({"n_flips": 0}, "n_flips"), ({"level": 2}, "level"), ({"units": [1]}, "units")):
        with pytest.raises(InputError, match=message):
            compare_pairs(x, **options)
    with pytest.raises(InputError, match="same images"):
        compare_with_references(x, x[:, :5])
    with pytest.raises(InputError, match="n_boot"):
        selection_optimism(x, n_boot=0)


@pytest.mark.parametrize(("methods", "images"), [(3, 100), (9, 250)])
def test_the_excess_of_the_best_of_equal_methods_is_estimated(methods, images):
    true, estimated = simulated_scores.optimism(methods, images, 0.9, 150)
    assert estimated == pytest.approx(true, rel=0.15)


def test_one_method_and_methods_far_apart_are_not_chosen_by_chance():
    assert selection_optimism(answers(1)) == 0
    far = np.array([np.arange(400) % 2 == 0, np.arange(400) % 10 > 0])
    assert selection_optimism(far) < 0.002
    copies = np.repeat(answers(5, 60), 4, axis=1)
    alone = selection_optimism(copies, units=np.repeat(np.arange(60), 4))
    assert alone == pytest.approx(selection_optimism(copies[:, ::4]), rel=0.05)
    assert alone > 1.5 * selection_optimism(copies)
