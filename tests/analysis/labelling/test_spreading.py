"""Label spreading: scikit-learn's checks, the dense closed form and the iteration it is the limit of."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.analysis import neighbours
from featx.analysis.labelling import CosineLabelSpreading
from featx.errors import InputError

EXPECTED = {"check_classifiers_classes": "it has a class -1, which among labels means that there is none"}


@parametrize_with_checks(
    [CosineLabelSpreading(), CosineLabelSpreading(3, 0.5, class_mass="labelled")],
    expected_failed_checks=lambda _: EXPECTED,
    xfail_strict=True,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def similarities(queries, rows):
    queries, rows = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, rows))
    return queries @ rows.T


def densely(X, y, k, alpha, exponent):
    """F and S with every matrix whole, neighbour by neighbour."""
    cosines = similarities(X, X)
    A = np.zeros_like(cosines)
    for i, row in enumerate(cosines):
        others = [j for j in np.argsort(-row, kind="stable") if j != i]
        for j in others[:k]:
            A[i, j] = max(row[j], 0) ** exponent
    W = A + A.T
    root = np.sqrt(W.sum(axis=1))
    S = W / root[:, None] / root[None]
    Y = (y[:, None] == np.unique(y[y != -1])).astype(float)
    return (1 - alpha) * np.linalg.inv(np.eye(len(X)) - alpha * S) @ Y, S, Y


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(3, 8)), 30, axis=0) + rng.normal(size=(90, 8))
    y = np.full(90, -1)
    y[[0, 1, 2, 30, 31, 60]] = [2, 2, 2, 5, 5, 9]
    return X, y


@pytest.mark.parametrize(("k", "alpha", "exponent"), [(4, 0.99, 3.0), (9, 0.3, 1.0), (200, 0.9, 2.0)])
def test_as_the_dense_closed_form(rows, k, alpha, exponent, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", 1000)  # several blocks
    X, y = rows
    F, _, _ = densely(X, y, k, alpha, exponent)
    spread = CosineLabelSpreading(k, alpha, exponent).fit(X, y)
    np.testing.assert_allclose(
        spread.label_distributions_, F / F.sum(axis=1, keepdims=True), rtol=0, atol=1e-6
    )
    assert spread.classes_.tolist() == [2, 5, 9]
    assert (spread.transduction_ == spread.classes_[F.argmax(axis=1)]).all()
    assert spread.reached_.all()


def test_it_is_the_limit_of_the_iteration(rows):
    X, y = rows
    _, S, Y = densely(X, y, 5, 0.8, 3.0)
    F = Y
    for _ in range(200):
        F = 0.8 * S @ F + 0.2 * Y
    found = CosineLabelSpreading(5, 0.8).fit(X, y).label_distributions_
    np.testing.assert_allclose(found, F / F.sum(axis=1, keepdims=True), rtol=0, atol=1e-6)


def test_new_rows_take_the_weighted_mean_of_their_neighbours(rows):
    X, y = rows
    spread = CosineLabelSpreading(4).fit(X, y)
    new = np.random.default_rng(1).normal(size=(20, 8)) + X[:20]
    for row, found in zip(similarities(new, X), spread.predict_proba(new), strict=True):
        near = np.argsort(-row, kind="stable")[:4]
        weights = np.maximum(row[near], 0) ** 3
        expected = (weights[:, None] * spread.label_distributions_[near]).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert (spread.predict(new) == spread.classes_[spread.predict_proba(new).argmax(axis=1)]).all()


@pytest.mark.parametrize("mass", ["labelled", [1, 1, 6]])
def test_class_masses_scale_the_classes(rows, mass):
    X, y = rows
    plain = CosineLabelSpreading(4).fit(X, y).label_distributions_
    share = np.array([3, 2, 1]) / 6 if mass == "labelled" else np.array(mass) / 8
    expected = plain * share / plain[y == -1].mean(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    found = CosineLabelSpreading(4, class_mass=mass).fit(X, y).label_distributions_
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_what_no_label_reaches_has_the_shares_of_the_labels():
    X = np.array([[1, 0, 0, 0], [1, 0.1, 0, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0.1], [0, 0, 0, 0]])
    spread = CosineLabelSpreading(3).fit(X, [4, 4, 1, -1, -1, -1])
    assert spread.reached_.tolist() == [True, True, True, False, False, False]
    np.testing.assert_allclose(spread.label_distributions_[3:], [[1 / 3, 2 / 3]] * 3)
    np.testing.assert_allclose(spread.predict_proba([[0, -1, 0, 0], [0, 0, 0, 0]]), [[1 / 3, 2 / 3]] * 2)


def test_copies_are_joined_to_copies_and_never_to_themselves():
    X = np.repeat(np.eye(2), 8, axis=0)
    y = np.full(16, -1)
    y[[7, 8]] = [0, 1]
    spread = CosineLabelSpreading(2).fit(X, y)
    F, _, _ = densely(np.eye(2).repeat(8, axis=0), y, 2, 0.99, 3.0)
    graph = spread._graph(X)
    assert graph.diagonal().tolist() == [0] * 16
    assert graph.sum() == pytest.approx(2 * 2 * 16)
    assert (spread.transduction_ == F.argmax(axis=1)).all()


def test_labels_may_be_strings_with_minus_one_among_them():
    y = np.array(["rose", -1, "oak", -1], dtype=object)
    spread = CosineLabelSpreading(1).fit([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], y)
    assert spread.transduction_.tolist() == ["rose", "rose", "oak", "oak"]
    assert spread.predict([[5, 1]]).tolist() == ["rose"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors must be a whole number of at least 1, got 0"),
        ({"alpha": 1}, "alpha must be between 0 and 1, got 1"),
        ({"exponent": -1}, "exponent must be positive, got -1"),
        ({"class_mass": "uniform"}, "class_mass must be None, 'labelled' or numbers, got 'uniform'"),
        ({"class_mass": [1, 2]}, "class_mass must be 3 positive numbers, one for each class"),
    ],
)
def test_parameters_out_of_range_are_refused(rows, parameters, message):
    with pytest.raises(InputError, match=message):
        CosineLabelSpreading(**parameters).fit(*rows)


def test_without_any_label_there_is_nothing_to_spread(rows):
    with pytest.raises(InputError, match="all 90 rows are -1"):
        CosineLabelSpreading().fit(rows[0], np.full(90, -1))
