"""Tests of differences against SciPy and, where installed, statsmodels and scikit-posthocs."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, permutation_test

from featx.metrics import holm, mcnemar_exact, rank_methods, sign_flip_test


def oracle(name: str):
    """Import a package of the ``dev`` extra, or skip the test."""
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name} is not installed; it is part of the dev extra")


@pytest.mark.parametrize("n", [2, 5, 12])
def test_all_sign_flips_are_scipys_permutations(n):
    a, b = np.abs(np.random.default_rng(n).normal(size=(2, n)))
    found = permutation_test(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=2**n,
        vectorized=True,
    )
    assert sign_flip_test(a, b).p_value == pytest.approx(found.pvalue)


def test_friedmans_statistic_is_scipys():
    scores = np.random.default_rng(0).normal(size=(9, 4)) + np.arange(4)
    found = friedmanchisquare(*scores.T)
    result = rank_methods(scores)
    assert result.chi_square == pytest.approx(found.statistic)
    assert result.p_value_chi_square == pytest.approx(found.pvalue)


def test_holms_adjustment_is_that_of_statsmodels():
    p = np.random.default_rng(0).uniform(size=20) ** 3
    multitest = oracle("statsmodels.stats.multitest")
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])


def test_mcnemars_test_is_that_of_statsmodels():
    a, b = np.random.default_rng(0).random((2, 60)) < [[0.9], [0.7]]
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    tables = oracle("statsmodels.stats.contingency_tables")
    assert mcnemar_exact(a, b).p_value == pytest.approx(tables.mcnemar(table, exact=True).pvalue)


def test_methods_are_told_apart_as_by_scikit_posthocs():
    scores = np.random.default_rng(1).normal(size=(12, 5)) + 0.8 * np.arange(5)
    result = rank_methods(scores, [str(i) for i in range(5)])
    p = oracle("scikit_posthocs").posthoc_nemenyi_friedman(scores).to_numpy()
    for i in range(5):
        for j in range(i):
            together = any({str(i), str(j)} <= set(group) for group in result.groups)
            assert together == (p[i, j] > 0.05)
