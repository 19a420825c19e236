"""What to label next: each choice as the slow form of its rule makes it."""

from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.labelling import active, badge, k_center, margin, typical
from featx.errors import InputError


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


@pytest.fixture
def probabilities():
    scores = np.exp(2 * np.random.default_rng(1).normal(size=(60, 4)))
    return scores / scores.sum(axis=1, keepdims=True)


def test_margin_is_the_gap_between_the_two_greatest(probabilities):
    gaps = [sorted(row)[-1] - sorted(row)[-2] for row in probabilities.tolist()]
    assert margin(probabilities, 9).tolist() == sorted(range(60), key=lambda i: gaps[i])[:9]
    assert margin([[0.5, 0.5], [0.5, 0.5]], 2).tolist() == [0, 1]


@pytest.mark.parametrize("n_labelled", [0, 4])
def test_k_center_takes_the_furthest_each_time(rows, n_labelled, monkeypatch):
    monkeypatch.setattr(active, "_BLOCK", 7)
    labelled = np.random.default_rng(2).normal(size=(n_labelled, 5)).astype(np.float32)
    known = [row.astype(float) for row in labelled]
    expected = []
    if not known:
        middle = rows.astype(float).mean(axis=0)
        expected = [min(range(60), key=lambda i: np.linalg.norm(rows[i] - middle))]
        known = [rows[expected[0]].astype(float)]
    while len(expected) < 12:
        expected.append(
            max(range(60), key=lambda i: min(np.linalg.norm(rows[i].astype(float) - row) for row in known))
        )
        known.append(rows[expected[-1]].astype(float))
    assert k_center(rows, 12, labelled=labelled).tolist() == expected


def test_k_center_is_within_twice_the_best_radius():
    points = np.random.default_rng(3).normal(size=(9, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    best = min(apart[[a, b]].min(axis=0).max() for a in range(9) for b in range(a))
    assert apart[k_center(points, 2)].min(axis=0).max() <= 2 * best


def test_badge_draws_by_distance_between_whole_gradients(rows, probabilities):
    errors = probabilities.copy()
    errors[np.arange(60), probabilities.argmax(axis=1)] -= 1
    gradients = np.einsum("ik,id->ikd", errors, rows.astype(float)).reshape(60, -1)
    rng = np.random.default_rng(5)
    expected = [int(np.linalg.norm(gradients, axis=1).argmax())]
    while len(expected) < 15:
        gaps = ((gradients[:, None] - gradients[expected][None]) ** 2).sum(axis=2).min(axis=1)
        expected.append(int(np.searchsorted(np.cumsum(gaps), rng.random() * gaps.sum(), side="right")))
    assert badge(rows, probabilities, 15, seed=5).tolist() == expected
    assert badge(rows, probabilities, 15, seed=6).tolist() != expected


@pytest.mark.parametrize("n_labelled", [0, 4])
def test_typical_takes_the_densest_image_of_the_largest_uncovered_cluster(rows, n_labelled, monkeypatch):
    monkeypatch.setattr(active, "_BLOCK", 7)
    labelled = np.random.default_rng(2).normal(size=(n_labelled, 5)).astype(np.float32)
    clusters = np.random.default_rng(3).integers(0, 9, size=n_labelled + 60)
    monkeypatch.setattr(active, "_cluster", lambda rows, n, seed: clusters)
    all_rows = np.concatenate([labelled, rows]).astype(float)
    all_rows /= np.linalg.norm(all_rows, axis=1, keepdims=True)
    known, expected = list(range(n_labelled)), []
    while len(expected) < 14:
        free = [i for i in range(n_labelled, n_labelled + 60) if i not in known]
        order = sorted(
            {int(clusters[i]) for i in free},
            key=lambda c: (sum(clusters[i] == c for i in known), -(clusters == c).sum(), c),
        )
        members = np.flatnonzero(clusters == order[0])

        def spread(i, members=members):
            apart = sorted(np.linalg.norm(all_rows[members] - all_rows[i], axis=1))
            return np.mean(apart[1:21])

        known.append(min((i for i in free if i in members), key=spread))
        expected.append(known[-1] - n_labelled)
    assert typical(rows, 14, labelled=labelled).tolist() == expected


def test_typical_finds_one_image_of_each_of_a_few_kinds():
    kinds = np.repeat(np.arange(4), [40, 20, 10, 5])
    rows = (np.eye(4, 8)[kinds] * 4 + np.random.default_rng(0).normal(scale=0.3, size=(75, 8))).astype(
        np.float32
    )
    first = typical(rows, 4)
    assert kinds[first].tolist() == [0, 1, 2, 3]  # the largest first
    assert typical(rows, 4).tolist() == first.tolist()
    others = np.setdiff1d(np.arange(75), first[:2])
    assert set(kinds[others][typical(rows[others], 2, labelled=rows[first[:2]])]) == {2, 3}


def test_typical_divides_many_rows_in_batches(monkeypatch):
    kinds = np.repeat(np.arange(3), 30)
    rows = (np.eye(3, 5)[kinds] * 4 + np.random.default_rng(0).normal(scale=0.3, size=(90, 5))).astype(
        np.float32
    )
    monkeypatch.setattr(active, "_BATCHED", 50)
    monkeypatch.setattr(active, "_MEMBERS", 10)
    assert sorted(kinds[typical(rows, 3)]) == [0, 1, 2]


def test_nothing_is_chosen_twice_even_among_copies(rows, probabilities):
    copies, alike = np.repeat(rows[:2], 5, axis=0), np.repeat(probabilities[:2], 5, axis=0)
    assert sorted(k_center(copies, 10).tolist()) == list(range(10))
    assert sorted(badge(copies, alike, 10).tolist()) == list(range(10))
    assert sorted(typical(copies, 10).tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, p: k_center(x, 61), "between 1 and the number of inputs, 60; got 61"),
        (lambda x, p: k_center(x, 2, labelled=np.ones((3, 4))), "labelled have 4 values and embeddings 5"),
        (lambda x, p: typical(x, 2, labelled=np.ones((3, 4))), "labelled have 4 values and embeddings 5"),
        (lambda x, p: badge(x[:9], p, 2), "9 embeddings and 60 rows of probabilities"),
        (lambda x, p: margin(p[:, :1], 2), r"\(n_images, n_classes\), got \(60, 1\)"),
        (lambda x, p: margin(p - 0.5, 2), "between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused(rows, probabilities, call, message):
    with pytest.raises(InputError, match=message):
        call(rows, probabilities)
