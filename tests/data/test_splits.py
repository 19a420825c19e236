"""Splits: given or drawn, stratified, grouped, seeded."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.data.splits import Split, make_split, make_splits, validation_part
from featx.errors import DatasetError, InputError


def shares(labels, part):
    return np.bincount(labels[part], minlength=labels.max() + 1) / np.bincount(labels)


def test_a_drawn_split_parts_every_class_by_the_share_and_covers_all_rows():
    labels = np.repeat(np.arange(5), [40, 80, 8, 100, 20])
    split = make_split(labels, test_size=0.25, seed=3)
    assert split.origin == "drawn"
    assert split.val is None
    np.testing.assert_array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(248))
    np.testing.assert_array_equal(shares(labels, split.test), 0.25)
    assert split.train.dtype == split.test.dtype == np.int64
    assert (np.diff(split.train) > 0).all()
    assert (np.diff(split.test) > 0).all()


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    labels = np.arange(200) % 4
    a, b, c = (make_split(labels, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.test, b.test)
    assert not np.array_equal(a.test, c.test)


def test_drawing_leaves_the_global_random_state_alone():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_split([0, 0, 1, 1], groups=[0, 1, 2, 3])
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    test_size=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
def test_every_class_trains_and_classes_of_two_or_more_are_tested(counts, test_size, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    if max(counts) == 1:
        with pytest.raises(DatasetError, match="every class has one row"):
            make_split(labels, test_size=test_size, seed=seed)
        return
    split = make_split(labels, test_size=test_size, seed=seed)
    train, test = (np.bincount(labels[p], minlength=len(counts)) for p in (split.train, split.test))
    assert (train >= 1).all()
    assert (test[np.array(counts) > 1] >= 1).all()
    assert (test[np.array(counts) == 1] == 0).all()
    wanted = np.array(counts) * test_size
    inside = (wanted > 1) & (wanted < np.array(counts) - 1)
    assert (np.abs(test - wanted)[inside] < 1).all()


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=60),
    n_groups=st.integers(1, 20),
    seed=st.integers(0, 5),
)
def test_groups_never_straddle_and_every_class_trains(labels, n_groups, seed):
    labels = np.array(labels)
    groups = np.random.default_rng(seed).integers(0, n_groups, len(labels))
    try:
        split = make_split(labels, groups=groups, seed=seed)
    except DatasetError:
        # Rightly so only if each group holds the whole of some class.
        for group in np.unique(groups):
            assert any((groups[labels == c] == group).all() for c in np.unique(labels))
        return
    assert len(split.test)
    assert not set(groups[split.train]) & set(groups[split.test])
    assert set(labels[split.train]) == set(labels)


def test_a_grouped_split_keeps_the_share_of_every_class():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 6, 600), rng.integers(0, 60, 600)
    split = make_split(labels, groups=groups, test_size=0.25)
    assert np.abs(shares(labels, split.test) - 0.25).max() < 0.05


def test_a_grouped_split_finds_the_exact_share_where_there_is_one():
    # One group of 6 and six of 1 in each class: 3 of 12 are wanted.
    labels = np.repeat([0, 1], 12)
    groups = np.concatenate([[0] * 6, range(1, 7), [10] * 6, range(11, 17)])
    split = make_split(labels, groups=groups, test_size=0.25)
    np.testing.assert_array_equal(shares(labels, split.test), 0.25)


def test_group_names_may_be_text_numbers_or_both():
    labels = [0, 0, 1, 1, 0, 1]
    for groups in (["a", "b", "c", "d", "a", "c"], np.array(["a", 1, 2, 3, "a", 2], dtype=object)):
        split = make_split(labels, groups=groups, test_size=0.4)
        names = np.array([str(g) for g in groups])
        assert not set(names[split.train]) & set(names[split.test])


def test_many_groups_are_dealt_quickly():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 50, 20_000), rng.integers(0, 8_000, 20_000)
    split = make_split(labels, groups=groups)
    assert abs(len(split.test) / 20_000 - 0.25) < 0.01


def test_the_split_of_the_data_is_kept():
    split = make_split([0, 1, 0, 1, 0, 1], splits=["train", "train", "test", "test", "val", "val"])
    assert split.origin == "given"
    np.testing.assert_array_equal(split.train, [0, 1, 4, 5])
    np.testing.assert_array_equal(split.val, [4, 5])
    np.testing.assert_array_equal(split.test, [2, 3])


def test_val_rows_are_the_test_rows_where_there_are_no_others():
    split = make_split([0, 1, 0, 1], splits=["train", "train", "val", "val"])
    np.testing.assert_array_equal(split.test, [2, 3])
    np.testing.assert_array_equal(split.train, [0, 1])
    assert split.val is None


def test_a_split_is_drawn_where_the_data_names_training_rows_only():
    split = make_split([0, 1, 0, 1], splits=["train"] * 4, test_size=0.5)
    assert split.origin == "drawn"
    assert len(split.test) == 2


def test_a_class_without_training_rows_is_named():
    with pytest.raises(DatasetError, match=r"no training row of class 'daisy':"):
        make_split([0, 1, 2], splits=["train", "train", "test"], classes=("a", "b", "daisy"))
    with pytest.raises(DatasetError, match=r"no training row of class 2:"):
        make_split([0, 1, 2], splits=["train", "train", "test"])
    with pytest.raises(DatasetError, match=r"class 1, 2, 3, 4, 5, \.\.\."):
        make_split(range(8), splits=["train"] + ["test"] * 7)


def test_a_group_on_both_sides_of_a_given_split_is_named():
    with pytest.raises(DatasetError, match="group 'p7' has rows in the training and in the test part"):
        make_split([0, 0, 1], splits=["train", "test", "train"], groups=["p7", "p7", "p8"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": []}, "no labels"),
        ({"labels": [[0, 1]]}, r"shape \(1, 2\)"),
        ({"labels": [0.0, 1.0]}, "float64"),
        ({"labels": ["a", "b"]}, "one integer per image"),
        ({"labels": [0, 1], "splits": ["train"]}, r"each of the 2 labels, got shape \(1,\)"),
        ({"labels": [0, 1], "splits": ["train", "Test"]}, "unknown split 'Test' in row 1"),
        ({"labels": [0, 1], "splits": ["test", "test"]}, "no training rows"),
        ({"labels": [0, 1], "groups": [1]}, r"each of the 2 labels, got shape \(1,\)"),
        ({"labels": [0, 0, 1, 1], "groups": [1, 1, 1, 1]}, "all 4 rows are in one group, '1'"),
        ({"labels": [0, 1], "groups": [1, 2]}, r"only one of some class \(class 0 is in group '1' only\)"),
        ({"labels": [0, 1]}, "every class has one row"),
    ],
)
def test_what_cannot_be_split_is_explained(arguments, message):
    with pytest.raises(DatasetError, match=message) as caught:
        make_split(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0, 1, -0.1, 25, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(InputError, match="test_size must lie between 0 and 1"):
        make_split([0, 0, 1, 1], test_size=share)
    with pytest.raises(InputError, match="fraction must lie between 0 and 1"):
        validation_part(Split(np.arange(4), np.array([4])), [0, 0, 1, 1, 1], fraction=share)


def test_the_validation_part_is_drawn_from_the_training_rows_by_class():
    labels = np.arange(400) % 4
    split = make_split(labels, seed=1)
    fit, val = validation_part(split, labels, fraction=0.2, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate([fit, val])), split.train)
    np.testing.assert_array_equal(np.bincount(labels[val]), [15] * 4)
    again = validation_part(split, labels, fraction=0.2, seed=1)
    np.testing.assert_array_equal(again[1], val)


def test_the_validation_part_keeps_groups_together():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 200), rng.integers(0, 40, 200)
    split = make_split(labels, groups=groups)
    fit, val = validation_part(split, labels, groups=groups)
    assert len(val)
    assert not set(groups[fit]) & set(groups[val])


def test_the_validation_part_of_the_data_is_used():
    labels = [0, 1, 0, 1, 0, 1]
    split = make_split(labels, splits=["train", "train", "test", "test", "val", "val"])
    fit, val = validation_part(split, labels)
    np.testing.assert_array_equal(fit, [0, 1])
    np.testing.assert_array_equal(val, [4, 5])


def test_a_validation_part_that_takes_a_class_away_is_drawn_anew():
    labels = [0, 0, 1, 1, 0, 1]
    split = make_split(labels, splits=["train", "train", "val", "val", "test", "test"])
    fit, val = validation_part(split, labels, fraction=0.5)
    assert set(np.array(labels)[fit]) == {0, 1}
    np.testing.assert_array_equal(np.sort(np.concatenate([fit, val])), split.train)


def test_the_validation_part_is_empty_where_nothing_can_be_spared():
    fit, val = validation_part(Split(np.arange(3), np.array([3, 4, 5])), [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(fit, [0, 1, 2])
    assert len(val) == 0


def test_importing_splits_stays_light():
    code = (
        "import sys, featx.data.splits; sys.exit(bool({'torch', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def groups_left_out(splits, groups):
    return [set(np.unique(groups[split.test]).tolist()) for split in splits]


def test_as_many_splits_as_groups_leave_each_out_once():
    groups, labels = np.repeat(np.array(["ann", "bob", "cid", "dee"]), 30), np.tile(np.arange(3), 40)
    for seed in range(4):
        splits = make_splits(labels, groups=groups, seeds=range(seed, seed + 6))
        tested = groups_left_out(splits, groups)
        assert set.union(*tested[:4]) == set(groups.tolist())
        assert all(len(one) == 1 for one in tested)
        assert np.array_equal(splits[0].test, make_split(labels, groups=groups, seed=seed).test)
        again = make_splits(labels, groups=groups, seeds=range(seed, seed + 6))
        assert all(np.array_equal(a.test, b.test) for a, b in zip(splits, again, strict=True))
        for split in splits:
            assert not set(groups[split.train]) & set(groups[split.test])
            assert np.array_equal(np.union1d(split.train, split.test), np.arange(120))


def test_groups_take_part_again_where_a_class_would_not_be_tested():
    # Each group has one class: the two groups of class 0 are left out by two splits, and then again.
    groups = np.repeat(np.arange(8), 10)
    labels = np.where(groups < 2, 0, 1)
    for split in make_splits(labels, groups=groups, seeds=range(6)):
        assert set(labels[split.test].tolist()) == {0, 1}


def test_no_split_tests_the_few_groups_that_many_splits_left():
    groups = np.repeat(np.arange(101), 4)
    labels = np.tile(np.arange(2), 202)
    sizes = [len(split.test) for split in make_splits(labels, groups=groups, seeds=range(9))]
    assert min(sizes) > 0.4 * max(sizes)


def test_splits_without_groups_are_those_of_each_seed():
    labels = np.tile(np.arange(3), 20)
    for seed, split in zip(range(4), make_splits(labels, seeds=range(4)), strict=True):
        assert np.array_equal(split.test, make_split(labels, seed=seed).test)
    given = np.repeat(["train", "test"], 30)
    assert make_splits(labels, splits=given, groups=np.arange(60), seeds=[0])[0].origin == "given"
