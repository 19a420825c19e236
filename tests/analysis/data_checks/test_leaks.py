"""Leaks across the split, and pictures with two labels."""

from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.data_checks import NearDuplicates, find_conflicting_labels, find_leaks
from featx.errors import InputError


def pairs_of(*pairs, n=8, hashed=True):
    """(first, second, kind) as a result."""
    return NearDuplicates(
        n=n,
        pairs=np.array([pair[:2] for pair in pairs]).reshape(-1, 2),
        kinds=np.array([pair[2] for pair in pairs], dtype=str),
        distances=np.linspace(0, 0.1, len(pairs)),
        bits=np.zeros(len(pairs), np.int64),
        agree_below=0.3,
        alike_below=0.1,
        hashed=hashed,
    )


TRAIN, TEST = np.arange(5), np.array([7, 6, 5])


def test_a_test_image_leaks_through_a_copy_of_a_copy():
    found = find_leaks(pairs_of((5, 6, "same"), (2, 6, "identical")), TRAIN, TEST)
    assert found.test.tolist() == [6, 5]
    assert found.train.tolist() == [2, 2]
    assert found.leaked.tolist() == [False, True, True]
    assert found.share == pytest.approx(2 / 3)


def test_a_direct_pair_is_the_witness():
    # 0, 1 and 5 are one picture by way of 3; 5 was paired with 3.
    found = find_leaks(pairs_of((0, 1, "same"), (1, 3, "same"), (3, 5, "same")), TRAIN, TEST)
    assert (found.test.tolist(), found.train.tolist()) == ([5], [3])


def test_alike_counts_only_where_there_are_no_hashes():
    pairs = ((0, 5, "alike"), (1, 2, "same"))
    assert len(find_leaks(pairs_of(*pairs), TRAIN, TEST)) == 0
    assert find_leaks(pairs_of(*pairs, hashed=False), TRAIN, TEST).test.tolist() == [5]


def test_images_on_one_side_and_on_neither_do_not_leak():
    found = pairs_of((0, 1, "same"), (5, 6, "same"), (4, 7, "same"))
    assert len(find_leaks(found, np.arange(4), np.array([5, 6]))) == 0


def test_without_pairs_nothing_leaks():
    found = find_leaks(pairs_of(), TRAIN, TEST)
    assert len(found) == 0
    assert found.share == 0


def test_two_labels_on_one_picture():
    found = pairs_of((0, 1, "same"), (1, 5, "identical"), (2, 3, "same"), (4, 6, "alike"))
    pictures = find_conflicting_labels(found, [0, 0, 1, 1, 0, 2, 1, 0])
    assert [picture.tolist() for picture in pictures] == [[0, 1, 5]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="row 4 is in train and in test"):
        find_leaks(pairs_of(), TRAIN, np.array([4, 5]))
    with pytest.raises(InputError, match="positions below 8, got 9"):
        find_leaks(pairs_of(), TRAIN, np.array([9]))
    with pytest.raises(InputError, match="one label for each of 8 inputs"):
        find_conflicting_labels(pairs_of(), [0, 1])
