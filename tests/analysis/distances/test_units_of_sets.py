"""Rows that belong together: the test permutes units, whatever their sizes; chance keeps them whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from frames import frames_of, rejection_rate
from scipy.spatial.distance import pdist

from featx.analysis.distances import domain_classifier, mmd_test
from featx.analysis.distances.units import check_units, count_earlier, divide_units, match_sizes
from featx.errors import InputError


def test_each_set_has_its_part_of_a_unit():
    assert check_units(None, 2, 2) is None
    assert check_units([4, 5, 5, 9], 2, 2) is None  # one row of unit 5 in each set
    np.testing.assert_array_equal(check_units([7, 3, 7, 3, 3, 1], 3, 3), [1, 0, 1, 3, 3, 2])
    for wrong in ([1, 2, 3], [0.0, 1.0, 1.0, 2.0]):
        with pytest.raises(InputError, match="units must be 4 whole numbers"):
            check_units(wrong, 2, 2)


def test_the_kernel_between_units_against_loops():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9, 3)), rng.normal(size=(8, 3)) + 0.3
    units = np.array([0, 0, 1, 2, 2, 2, 1, 3, 3, 5, 5, 6, 7, 7, 7, 6, 0])  # unit 0 has a row in both sets
    tested = mmd_test(X, Y, units=units, bandwidths=1.5, n_permutations=300, seed=1)
    rows = np.concatenate([X, Y])[match_sizes(check_units(units, 9, 8), 9, np.random.default_rng(1))]
    kept = check_units(units, 9, 8)[match_sizes(check_units(units, 9, 8), 9, np.random.default_rng(1))]

    def between(a, b):
        pairs = [(x, y) for x in rows[kept == a] for y in rows[kept == b]]
        return np.mean([math.exp(-((x - y) ** 2).sum() / (2 * 1.5**2)) for x, y in pairs])

    def value(first):
        second = [u for u in range(8) if u not in first]
        within = [np.mean([between(a, b) for a in side for b in side if a != b]) for side in (first, second)]
        return sum(within) - 2 * np.mean([between(a, b) for a in first for b in second])

    assert tested.n_units == (4, 4)
    assert tested.value == pytest.approx(value([0, 1, 2, 3]), abs=1e-12)
    drawn = [value(rng.choice(8, 4, replace=False).tolist()) for _ in range(300)]
    assert tested.p_value == pytest.approx(np.mean(np.array(drawn) >= tested.value), abs=0.1)


def test_units_of_one_row_change_nothing():
    X, Y = np.random.default_rng(0).normal(size=(2, 12, 3))
    alone = np.arange(24)
    assert mmd_test(X, Y, units=alone, n_permutations=99) == mmd_test(X, Y, n_permutations=99)
    expected = domain_classifier(X, Y).log_ratio
    np.testing.assert_array_equal(domain_classifier(X, Y, units=alone).log_ratio, expected)
    assert mmd_test(X, Y, n_permutations=9).bandwidths[0] == np.median(pdist(np.concatenate([X, Y])))


@pytest.mark.parametrize(
    ("first", "second"),
    [([5] * 15, [5] * 15), ([1] * 12, [8] * 24), ([2, 3, 30] * 5, [1, 2, 4, 9] * 3)],
    ids=["five frames a scene", "single images and many frames", "unequal"],
)
def test_scenes_of_one_kind_are_told_apart_as_often_as_promised(first, second):
    # 300 trials at 5 %: 15 expected, standard deviation 3.8. Rows alone: 90 % and more.
    rate = rejection_rate(lambda rng: np.array(first), lambda rng: np.array(second), icc=0.9, trials=300)
    assert 5 / 300 <= rate <= 28 / 300


def test_other_scenes_are_found():
    rng = np.random.default_rng(0)
    (x, u), (y, v) = frames_of(rng, [5] * 20, 0.9), frames_of(rng, [5] * 20, 0.9)
    assert mmd_test(x, y + 1.5, units=np.append(u, v + 20), n_permutations=199).p_value == 1 / 200


def test_few_units_cannot_give_a_small_p_value():
    rng = np.random.default_rng(0)
    (x, u), (y, v) = frames_of(rng, [5] * 3, 0.9), frames_of(rng, [5] * 3, 0.9)
    tested = mmd_test(x, y + 9, units=np.append(u, v + 3), n_permutations=999)
    assert tested.least_p == 2 / 20
    assert tested.p_value == pytest.approx(0.1, abs=0.03)
    with pytest.raises(InputError, match="a set is one unit"):
        mmd_test(x, y, units=[0] * 15 + [1, 2, 3] * 5)


def test_matched_sizes():
    rng = np.random.default_rng(0)
    parts = np.repeat(np.arange(7), [1, 1, 2, 9, 3, 3, 4])
    kept = match_sizes(parts, 13, rng)
    # Quantiles 1/8 to 7/8 of the second set are 3, 3, 4, 4; 1/6, 1/2, 5/6 of the first are 1, 2, 9.
    np.testing.assert_array_equal(np.bincount(parts[kept]), [1, 1, 2, 4, 1, 2, 4])
    same = np.repeat(np.arange(8), [2, 5, 1, 3, 3, 1, 2, 5])
    assert match_sizes(same, 11, rng).all()
    assert len({tuple(match_sizes(parts, 13, rng)) for _ in range(20)}) > 1


def test_random_divisions_keep_units_whole_and_sizes_near():
    rng = np.random.default_rng(0)
    parts = np.repeat(np.arange(30), rng.integers(1, 6, 30))
    masks = [divide_units(parts, 30, rng) for _ in range(50)]
    for mask in masks:
        counts = np.bincount(parts, weights=mask)
        assert np.isin(counts, [0, *range(1, 6)]).all()
        assert ((counts == 0) | (counts == np.bincount(parts))).all()
        assert abs(mask.sum() - 30) <= 3
    assert len({tuple(mask) for mask in masks}) == 50
    # Two units of which one is nearly everything: the only division that leaves 3 rows is the given one.
    lopsided = np.repeat([0, 1], [2, 10])
    np.testing.assert_array_equal(divide_units(lopsided, 2, rng), lopsided == 0)


def test_earlier_rows_of_a_group_are_counted():
    assert count_earlier(np.array(["b", "a", "b", "b", "a"])).tolist() == [0, 0, 1, 2, 1]


def test_no_unit_is_on_both_sides_of_a_fold():
    # Scenes that are recognised again would be told apart; and one picture in both sets would mislead.
    rng = np.random.default_rng(3)
    (x, u), (y, v) = frames_of(rng, [8] * 12, 0.99, d=30), frames_of(rng, [8] * 12, 0.99, d=30)
    assert domain_classifier(x, y).error < 0.1
    assert 0.3 < domain_classifier(x, y, units=np.append(u, v + 12)).error < 0.7
    same = rng.normal(size=(60, 30))
    assert domain_classifier(same, same).error > 0.7
    assert domain_classifier(same, same, units=np.tile(np.arange(60), 2)).error == 0.5
    with pytest.raises(InputError, match="too few units"):
        domain_classifier(x, y, units=np.append(np.zeros(96, int), v + 1))
