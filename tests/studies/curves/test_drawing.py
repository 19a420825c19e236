"""Draws: nested, balanced, the same for all methods, and alternating between groups."""

from __future__ import annotations

import numpy as np
import pytest

from featx.errors import InputError, UnknownName
from featx.studies.curves.drawing import Level, check_shots, draw, find_levels, get_protocol

Y = np.repeat([0, 1, 2], [10, 4, 7])
TRAIN = np.flatnonzero(np.arange(21) % 7 != 3)
COUNTS = np.bincount(Y[TRAIN])


def drawn(number=0, seed=0, groups=None, y=Y, train=TRAIN, n_classes=3):
    return draw(y, train, n_classes, number=number, seed=seed, groups=groups)


def test_more_shots_take_what_fewer_shots_take():
    found, _ = find_levels((1, 2, 3, 5, "all"), COUNTS)
    for number in range(5):
        before = set()
        for level in found:
            rows = drawn(number).rows(level)
            assert np.bincount(Y[rows], minlength=3).tolist() == list(level.counts)
            assert len(set(rows.tolist())) == level.n_train
            assert before <= set(rows.tolist()) <= set(TRAIN.tolist())
            assert (np.diff(rows) > 0).all()
            before = set(rows.tolist())
        assert before == set(TRAIN.tolist())


def test_draws_differ_and_are_the_same_again():
    level = Level(2, (2, 2, 2))
    orders = [tuple(drawn(number).rows(level)) for number in range(8)]
    assert len(set(orders)) > 4
    assert orders == [tuple(drawn(number).rows(level)) for number in range(8)]
    assert len({drawn(number).seed for number in range(8)}) == 8
    assert drawn(0, seed=1).orders[0].tolist() != drawn(0, seed=0).orders[0].tolist()


def test_every_image_is_drawn_as_often_as_any_other():
    first = [drawn(number).orders[0][0] for number in range(900)]
    counts = np.unique(first, return_counts=True)[1]
    assert len(counts) == COUNTS[0]
    assert abs(counts - 100).max() < 40  # four standard deviations


def test_a_class_is_drawn_whatever_the_others_have():
    fewer = TRAIN[(Y[TRAIN] != 0) | (TRAIN < 5)]
    assert drawn(train=fewer).orders[2].tolist() == drawn().orders[2].tolist()


def test_groups_give_one_image_each_before_a_second_of_any():
    y, groups = np.zeros(9, int), np.array(list("aaaaabbbc"))
    for number in range(20):
        order = drawn(number, groups=groups, y=y, train=np.arange(9), n_classes=1).orders[0]
        turns = [sorted(groups[order[a:b]].tolist()) for a, b in ((0, 3), (3, 5), (5, 7), (7, 9))]
        assert turns == [["a", "b", "c"], ["a", "b"], ["a", "b"], ["a", "a"]]


def test_classes_that_have_fewer_give_all_and_it_is_said():
    found, notes = find_levels((1, 5, 8, 9, "all"), (9, 4, 7))
    assert [level.counts for level in found] == [(1, 1, 1), (5, 4, 5), (8, 4, 7), (9, 4, 7)]
    assert notes == []
    assert found[1].short("abc") == {"b": 4}
    assert found[3].shots == 9  # the same images as all of them: shown once
    assert found[1].per_class == pytest.approx(14 / 3)


def test_shots_beyond_the_data_are_all_of_it_once():
    found, (note,) = find_levels((2, 50, 100, "all"), (9, 4, 7))
    assert [level.shots for level in found] == [2, "all"]
    assert "no class has more than 9 training images: 50, 100 shots" in note


@pytest.mark.parametrize("shots", [0, -1, 2.5, True, "every", [], [1, None]])
def test_shots_that_make_no_sense_are_refused(shots):
    with pytest.raises(InputError, match="shots"):
        check_shots(shots)


def test_shots_are_put_in_order():
    assert check_shots(["all", 5, 1, 5]) == (1, 5, "all")
    assert check_shots(3) == (3,)


def test_a_protocol_is_found_by_name():
    protocol = get_protocol("LSR_fewshot")
    assert (protocol.shots, protocol.seeds, protocol.classifiers) == ((1, 5, 10, 25), 3, ("lsr-fewshot",))
    with pytest.raises(UnknownName, match="did you mean lsr-fewshot"):
        get_protocol("lsr-fewshots")
