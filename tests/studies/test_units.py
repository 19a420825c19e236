"""Units: a group, all copies of a picture, and whatever is joined by both, count once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featx.analysis.data_checks import NearDuplicates
from featx.errors import InputError
from featx.results import StudyResult
from featx.studies import units as module
from featx.studies.units import count_groups, explain_limited_search, find_copies, find_units


def copies(n: int, *pairs: tuple[int, int], kind: str = "identical") -> NearDuplicates:
    k = len(pairs)
    return NearDuplicates(
        n, np.array(pairs).reshape(-1, 2), np.full(k, kind), np.zeros(k), np.zeros(k, int), 0.1, 0.01, True
    )


def connected_plainly(groups, pairs, n):
    """Join by repeated relabelling, without a graph library."""
    unit = list(range(n))
    edges = list(pairs)
    edges += [(i, j) for i in range(n) for j in range(i) if groups is not None and groups[i] == groups[j]]
    for _ in range(n):
        for i, j in edges:
            unit[i] = unit[j] = min(unit[i], unit[j])
    return unit


def same_partition(a, b):
    return (np.equal.outer(a, a) == np.equal.outer(b, b)).all()


def test_units_are_connected_components_of_groups_and_copies():
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = 12
        groups = rng.integers(0, 9, n) if rng.random() < 0.7 else None
        pairs = [tuple(sorted(rng.choice(n, 2, replace=False).tolist())) for _ in range(3)]
        found = find_units(groups, copies(n, *pairs), n)
        assert same_partition(found.of, np.array(connected_plainly(groups, pairs, n)))
        assert found.of.dtype == np.int64


def test_pairs_that_only_look_alike_are_not_joined():
    found = copies(3, (0, 1), kind="alike")
    assert find_units(None, found, 3).take(np.arange(3)) is None
    assert find_units(None, replace(found, hashed=False), 3).take(np.arange(3)) is None


def test_names_of_groups_do_as_well_as_numbers():
    named = find_units(np.array(["a", "b", "a", "c"]), None, 4)
    numbered = find_units(np.array([7, 2, 7, 9]), None, 4)
    assert same_partition(named.of, numbered.of)
    assert named.describe(np.array([0, 2, 3])) == {"images": 3, "units": 2, "groups": True, "copies": None}


def test_rows_that_are_all_their_own_unit_need_no_units():
    found = find_units(np.array([0, 0, 1, 2]), copies(4), 4)
    assert found.take(np.array([0, 2, 3])) is None
    assert found.take(np.array([0, 1, 3])).tolist() == [0, 0, 2]


def test_copies_are_counted_among_the_rows_asked_for():
    found = find_units(None, copies(5, (0, 1), (0, 2), (3, 4)), 5)
    assert found.describe(np.array([0, 1, 2, 3])) == {
        "images": 4,
        "units": 2,
        "groups": False,
        "copies": 2,
    }


def test_other_numbers_of_inputs_are_refused():
    with pytest.raises(InputError, match="groups must be those of 4 inputs"):
        find_units(np.zeros(3, int), None, 4)
    with pytest.raises(InputError, match="copies must be those of 4 inputs"):
        find_units(None, copies(3), 4)


def test_copies_are_found_among_all_images_and_equal_ones_among_too_many(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    rows[50] = rows[40]
    rows[51] = rows[2]
    everywhere = find_units(None, find_copies(rows).outcome, 60)
    assert everywhere.of[50] == everywhere.of[40]
    assert everywhere.of[51] == everywhere.of[2]
    rows[[2, 51]] += np.float32([[1e-6], [0]])  # nearly equal, and later equal to none
    rows[7] = rows[50]
    assert explain_limited_search(rows) is None
    monkeypatch.setattr(module, "MOST_IMAGES", 59)
    found = find_copies(rows).outcome
    assert found.pairs.tolist() == [[7, 40], [7, 50]]
    assert "more than 59 images" in explain_limited_search(rows)


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ({}, ""),
        ({"images": 9, "units": 9, "groups": True, "copies": None}, ""),
        (
            {"images": 306, "units": 51, "groups": True, "copies": 0},
            "intervals and tests count 51 groups as the units of 306 test images",
        ),
        (
            {"images": 306, "units": 294, "groups": False, "copies": 12},
            "intervals and tests count 294 different pictures as the units of 306 test images, 12 of them "
            "copies of another",
        ),
    ],
)
def test_units_are_said_in_words(units, said):
    assert StudyResult(units=units).units_note == said


def test_groups_are_counted_where_the_label_follows_the_group():
    labels = np.array([0, 0, 1, 1, 1])
    assert count_groups(np.array(["a", "a", "b", "b", "c"]), labels, 3) == [1, 2, 0]
    assert count_groups(np.array(["a", "a", "a", "b", "c"]), labels, 2) is None, "group a has two classes"
    assert count_groups(np.arange(5), labels, 2) is None, "no group has two images"
    assert count_groups(None, labels, 2) is None
