import itertools

import numpy as np
import pytest

from featx.data import Dataset, require_labelled
from featx.data.dataset import check_evaluated_classes
from featx.errors import DatasetError
from featx.inputs.image import PixelImage

BLACK = np.zeros((2, 2, 3), np.uint8)


def made(labels=None, splits=None, groups=None, classes=None, n=None):
    n = n if n is not None else len(next(v for v in (labels, splits, groups) if v is not None))
    return Dataset("toy", [PixelImage(f"i{i}", BLACK) for i in range(n)], labels, classes, splits, groups)


def test_a_dataset_knows_its_length_and_its_ids():
    dataset = made(n=3)
    assert len(dataset) == 3
    assert dataset.ids == ["i0", "i1", "i2"]
    assert dataset.labels is dataset.classes is dataset.splits is dataset.groups is None


def test_labels_become_int64_and_classes_are_numbered_when_not_named():
    dataset = made(labels=np.array([2, 0], np.uint8))
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"labels": [0, 1], "n": 3},
            r"toy: labels must have one value for each of the 3 images, got shape \(2,\)",
        ),
        ({"splits": ["train"], "n": 3}, "splits must have one value"),
        ({"groups": [[1, 2, 3]], "n": 3}, "groups must have one value"),
        ({"labels": [0.0, 1.0]}, "labels must be indices of classes .*float64"),
        ({"labels": ["a", "b"]}, "labels must be indices of classes"),
        ({"labels": [0, -1]}, "label -1 is no index"),
        ({"labels": [0, 2], "classes": ("a", "b")}, "label 2 is no index into the 2 classes"),
        ({"labels": [0, 1], "classes": ("a", "a")}, "two classes are named 'a'"),
        ({"splits": ["train", "holdout"]}, "unknown split 'holdout'; expected one of train, val, test"),
    ],
)
def test_inconsistent_datasets_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        made(**arguments)


def test_a_duplicate_id_is_named():
    with pytest.raises(DatasetError, match="2 images have the id 'b'"):
        Dataset("toy", [PixelImage(id, BLACK) for id in "abcb"])


def test_a_subset_keeps_everything_in_the_order_asked_for():
    dataset = made([0, 1, 0], ["train", "val", "test"], ["x", "y", "z"], ("a", "b"))
    part = dataset.subset([2, 1])
    assert part.ids == ["i2", "i1"]
    assert part.labels.tolist() == [0, 1]
    assert part.splits.tolist() == ["test", "val"]
    assert part.groups.tolist() == ["z", "y"]
    assert part.classes == ("a", "b")
    assert dataset.subset(np.array([True, False, True])).ids == ["i0", "i2"]
    assert len(dataset.subset([])) == 0


def test_a_mask_of_the_wrong_length_and_a_repeated_index_are_refused():
    with pytest.raises(DatasetError, match=r"mask must have shape \(2,\)"):
        made(n=2).subset(np.array([True]))
    with pytest.raises(DatasetError, match="2 images have the id 'i1'"):
        made(n=2).subset([1, 1])


# limit


def imbalanced():
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    splits = np.where(np.arange(100) % 5 == 0, "test", "train")
    order = np.random.default_rng(0).permutation(100)
    return made(labels[order], splits[order])


def test_a_limit_keeps_the_proportions_of_classes_and_splits():
    part = imbalanced().limit(40)
    assert len(part) == 40
    assert np.abs(np.bincount(part.labels) - [28, 10, 2]).max() <= 1
    assert abs((part.splits == "test").sum() - 8) <= 1


def test_a_limit_reaches_every_class_of_every_split_when_it_can():
    part = imbalanced().limit(6)
    assert sorted(zip(part.labels.tolist(), part.splits.tolist(), strict=True)) == [
        (label, split) for label in range(3) for split in ("test", "train")
    ]


def test_a_limit_keeps_the_order_and_is_the_same_for_the_same_seed():
    dataset = imbalanced()
    part = dataset.limit(30, seed=1)
    positions = [dataset.ids.index(id) for id in part.ids]
    assert positions == sorted(positions)
    assert part.ids == dataset.limit(30, seed=1).ids
    assert part.ids != dataset.limit(30, seed=2).ids


def test_smaller_limits_are_parts_of_larger_ones():
    dataset = imbalanced()
    chosen = [set(dataset.limit(n, seed=3).ids) for n in range(1, 101)]
    assert all(small < large for small, large in itertools.pairwise(chosen))
    assert [len(c) for c in chosen] == list(range(1, 101))


def test_a_limit_beyond_the_size_changes_nothing():
    dataset = imbalanced()
    assert dataset.limit(100) is dataset
    assert dataset.limit(10**9) is dataset


def test_unlabelled_datasets_can_be_limited():
    assert len(made(n=10).limit(4)) == 4


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3", None])
def test_an_impossible_limit_is_refused(n):
    with pytest.raises(DatasetError, match="limit must be a whole number of at least 1"):
        made(n=3).limit(n)


# Fit for training


def test_two_classes_of_two_images_are_enough():
    require_labelled(made([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 3}, "toy: the images have no labels; put them into one folder per class"),
        ({"labels": [0, 0, 0], "classes": ("cat",)}, "at least 2 classes, got 1: 'cat'"),
        ({"labels": [], "classes": ("cat",), "n": 0}, "at least 2 classes, got 0: none"),
        ({"labels": [0, 0, 1], "classes": ("cat", "dog")}, "at least 2 images .*; 'dog' has 1$"),
        ({"labels": [0, 0, 1, 1], "classes": ("a", "b", "c")}, "'c' has 0"),
        (
            {"labels": [0, *range(9)]},
            "'1' has 1, '2' has 1, '3' has 1, '4' has 1, '5' has 1 and 3 more",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_named(arguments, message):
    with pytest.raises(DatasetError, match=message):
        require_labelled(made(**arguments))


def test_a_class_that_is_only_in_test_is_named():
    splits = ["train", "train", "test", "test"]
    with pytest.raises(DatasetError, match=r"table.csv: in test but not in train: 'c'"):
        check_evaluated_classes(made([0, 1, 1, 2], splits, classes="abc"), "table.csv")
    with pytest.raises(DatasetError, match="in val but not in train: 'c'"):
        check_evaluated_classes(made([0, 1, 2], ["train", "train", "val"], classes="abc"), "x")


def test_a_class_of_test_may_be_in_val_and_one_of_train_only_in_train():
    check_evaluated_classes(made([0, 1, 1], ["train", "val", "test"]), "x")
    check_evaluated_classes(made([0, 1], ["test", "test"]), "x")
    check_evaluated_classes(made([0, 1], ["train", "train"]), "x")
    check_evaluated_classes(made(n=2), "x")
