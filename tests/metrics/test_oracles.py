"""Scores, intervals and tests against SciPy and, where installed, statsmodels and others of the dev extra."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, permutation_test

from featx.metrics import (
    holm,
    mcnemar_exact,
    mcnemar_mid_p,
    proportion_interval,
    rank_methods,
    score_anomalies,
    score_answers,
    sign_flip_test,
    take_answers,
)
from featx.vision import import_torchvision


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


@pytest.mark.parametrize(("k", "n"), [(0, 9), (49, 50), (50, 50), (612, 1000)])
def test_the_interval_of_a_share_is_that_of_statsmodels(k, n):
    found = proportion_interval(np.arange(n) < k)
    reference = oracle("statsmodels.stats.proportion").proportion_confint(k, n, method="beta")
    assert (found.low, found.high) == pytest.approx(reference)


def test_mcnemars_mid_p_is_half_a_term_less_than_that_of_statsmodels():
    a, b = np.random.default_rng(1).random((2, 80)) < [[0.9], [0.8]]
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    tables = oracle("statsmodels.stats.contingency_tables")
    exact = tables.mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue
    from scipy.stats import binom

    expected = exact - binom.pmf(only_a, only_a + only_b, 0.5)
    assert mcnemar_mid_p(a, b).p_value == pytest.approx(expected)


def test_scores_are_those_of_torchmetrics():
    torch, _ = oracle("torch"), import_torchvision()  # which torchmetrics imports
    torchmetrics = oracle("torchmetrics.functional.classification")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 300)
    p = rng.dirichlet(np.ones(5), 300) + 0.7 * np.eye(5)[y]
    p /= p.sum(axis=1, keepdims=True)
    found = score_answers(y, take_answers(y, p, p.argmax(axis=1)), n_boot=0)
    given = torch.from_numpy(p), torch.from_numpy(y)
    reference = {
        "top1": torchmetrics.multiclass_accuracy(*given, num_classes=5, average="micro"),
        "balanced_accuracy": torchmetrics.multiclass_accuracy(*given, num_classes=5, average="macro"),
        "macro_precision": torchmetrics.multiclass_precision(*given, num_classes=5, average="macro"),
        "macro_recall": torchmetrics.multiclass_recall(*given, num_classes=5, average="macro"),
        "macro_f1": torchmetrics.multiclass_f1_score(*given, num_classes=5, average="macro"),
        "calibration_error": torchmetrics.multiclass_calibration_error(*given, num_classes=5, n_bins=15),
    }
    for name, value in reference.items():
        assert found[name].value == pytest.approx(float(value), abs=1e-6), name
    anomalous = rng.random(300) < 0.3
    scores = np.round(rng.normal(size=300) - anomalous, 1)
    auroc = torchmetrics.binary_auroc(torch.from_numpy(-scores), torch.from_numpy(anomalous.astype(int)))
    assert score_anomalies(scores, anomalous, n_boot=0).each["auroc"][0].value == pytest.approx(
        float(auroc), abs=1e-6
    )
