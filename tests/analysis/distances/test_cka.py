"""Centred kernel alignment: the definition by explicit centring, the unbiased estimate by its sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from featx.analysis.distances import cka_matrix, debiased_cka, linear_cka
from featx.errors import InputError


def pair(n, d, e, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 1
    return X, X[:, :1] * rng.normal(size=(1, e)) + rng.normal(size=(n, e))


@pytest.mark.parametrize(("n", "d", "e"), [(30, 5, 4), (12, 40, 5), (12, 5, 40)])
def test_both_forms_are_the_definition(n, d, e):
    X, Y = pair(n, d, e)
    H = np.eye(n) - 1 / n
    K, L = H @ X @ X.T @ H, H @ Y @ Y.T @ H
    expected = np.trace(K @ L) / np.sqrt(np.trace(K @ K) * np.trace(L @ L))
    assert linear_cka(X, Y) == pytest.approx(expected, abs=1e-9)
    assert linear_cka(Y, X) == pytest.approx(expected, abs=1e-9)


def unbiased_hsic(K, L):
    """Song et al. 2012, eq. 3: means over all tuples of different rows."""
    n = len(K)
    pairs = [K[i, j] * L[i, j] for i, j in itertools.permutations(range(n), 2)]
    four = [K[i, j] * L[q, r] for i, j, q, r in itertools.permutations(range(n), 4)]
    three = [K[i, j] * L[i, q] for i, j, q in itertools.permutations(range(n), 3)]
    return np.mean(pairs) + np.mean(four) - 2 * np.mean(three)


def test_the_debiased_form_is_built_from_the_unbiased_estimate():
    X, Y = pair(8, 3, 5)
    K, L = X @ X.T, Y @ Y.T
    expected = unbiased_hsic(K, L) / np.sqrt(unbiased_hsic(K, K) * unbiased_hsic(L, L))
    assert debiased_cka(X, Y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("cka", [linear_cka, debiased_cka])
def test_rotation_scale_and_shift_change_nothing(cka):
    X, _ = pair(20, 6, 6)
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert cka(X, 3 * X @ Q + 100) == pytest.approx(1, abs=1e-9)


def test_few_rows_fool_the_plain_form_only():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 400)), rng.normal(size=(30, 400))
    assert linear_cka(X, Y) > 0.9
    assert abs(debiased_cka(X, Y)) < 0.1


def test_a_matrix_of_many_is_each_pair():
    X, Y = pair(15, 4, 30)
    many = [X, Y, Y[:, :3], np.ones((15, 2))]
    found = cka_matrix(many)
    for i, j in itertools.product(range(3), repeat=2):
        assert found[i, j] == pytest.approx(debiased_cka(many[i], many[j]), abs=1e-9)
    assert np.isnan(found[3]).all()


@pytest.mark.parametrize("cka", [linear_cka, debiased_cka])
def test_representations_that_cannot_be_compared(cka):
    X, Y = pair(10, 3, 3)
    with pytest.raises(InputError, match="10 and 9 rows"):
        cka(X, Y[:9])
    with pytest.raises(InputError, match="rows are needed"):
        cka(X[:1], Y[:1])
    with pytest.raises(InputError, match="all rows are alike"):
        cka(X, np.ones((10, 2)))
