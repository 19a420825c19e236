"""Repeated splits, families of tests, and many datasets."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import simulations
from scipy.stats import friedmanchisquare, ttest_1samp

from featx.errors import InputError
from featx.metrics import (
    Interval,
    corrected_interval,
    corrected_resampled_t_test,
    critical_difference,
    holm,
    holm_over_pairs,
    rank_methods,
)
from featx.results import ComparisonResult, MethodResult
from featx.studies.across_datasets import compare_over_datasets

#: Demsar (2006), table 6: AUC of four variants of C4.5 on 14 datasets. The paper ranks C4.5+cf before
#: C4.5+m+cf on "voting" (the last but one), which its three digits do not tell apart.
VARIANTS = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
AUC = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


def test_the_worked_example_of_the_paper_is_reproduced():
    found = rank_methods(AUC, VARIANTS)
    assert found.methods == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    assert found.ranks == pytest.approx((1.964, 2.000, 2.893, 3.143), abs=0.0005)
    assert found.chi_square == pytest.approx(9.28, abs=0.005)
    assert found.f_statistic == pytest.approx(3.69, abs=0.005)
    assert found.p_value < 0.05, "the critical value of F(3, 39) is 2.85"
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    # As the paper notes, Nemenyi's test tells nothing apart here: 3.143 - 1.964 is less than 1.25.
    assert found.groups == (found.methods,)
    assert "chi2 = 9.28, F = 3.69" in str(found)


def test_the_papers_own_use_of_holm_is_reproduced():
    # Section 3.2.2: z = 2.342, 0.512 and 2.416 of three variants against C4.5; Holm rejects the hypotheses
    # of +m+cf and +m, and not that of +cf.
    adjusted = holm([0.019, 0.607, 0.016])
    assert (adjusted < 0.05).tolist() == [True, False, True]
    assert adjusted.tolist() == pytest.approx([0.048, 0.607, 0.048])


@pytest.mark.parametrize(
    ("k", "alpha", "q"), [(2, 0.05, 1.960), (5, 0.05, 2.728), (10, 0.05, 3.164), (4, 0.1, 2.291)]
)
def test_critical_values_are_those_of_table_5(k, alpha, q):
    found = critical_difference(k, 20, alpha=alpha) / math.sqrt(k * (k + 1) / 120)
    assert found == pytest.approx(q, abs=0.0015)


@pytest.mark.parametrize("seed", range(5))
def test_friedmans_statistic_is_that_of_scipy_where_there_are_no_ties(seed):
    scores = np.random.default_rng(seed).random((9, 4))
    found = rank_methods(scores)
    assert (found.chi_square, found.p_value_chi_square) == pytest.approx(tuple(friedmanchisquare(*scores.T)))
    assert rank_methods(-scores, higher_is_better=False).ranks == found.ranks


def test_groups_are_runs_of_methods_that_are_not_told_apart():
    order = np.arange(6.0)
    noise = np.random.default_rng(0).normal(0, 0.6, (40, 6))
    found = rank_methods(order + noise, list("fedcba"))
    assert found.methods == tuple("abcdef")
    place = dict(zip(found.methods, found.ranks, strict=True))
    for group in found.groups:
        assert place[group[-1]] - place[group[0]] < found.critical_difference
    near = {(a, b) for a in "abcdef" for b in "abcdef" if 0 < place[b] - place[a] < found.critical_difference}
    assert near == {(a, b) for g in found.groups for i, a in enumerate(g) for b in g[i + 1 :]}
    assert not any(set(a) < set(b) for a in found.groups for b in found.groups)


def test_datasets_that_all_agree_leave_no_doubt_and_ties_leave_nothing_but():
    same = rank_methods(np.tile(np.arange(3.0), (8, 1)))
    assert (same.f_statistic, same.p_value) == (math.inf, 0)
    tied = rank_methods(np.ones((5, 3)))
    assert (tied.chi_square, tied.p_value, len(tied.groups)) == (0, 1, 1)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.ones((1, 3)), {}, r"at least two of each, got shape \(1, 3\)"),
        ([[1, np.nan], [1, 2]], {}, "finite"),
        (np.ones((2, 2)), {"methods": ["a", "a"]}, "methods: expected 2 different names"),
        (np.ones((2, 2)), {"datasets": ["a"]}, "datasets: expected 2 different names"),
        (np.ones((2, 2)), {"alpha": 1.5}, "alpha must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, options, message):
    with pytest.raises(InputError, match=message):
        rank_methods(scores, **options)


def result(name: str, **top1: float) -> ComparisonResult:
    methods = [MethodResult(m, m, "probe", "net", metrics={"top1": Interval(v)}) for m, v in top1.items()]
    floor = MethodResult("majority", "Majority", "floor", metrics={"top1": Interval(0.1)})
    return ComparisonResult({"name": name}, [*methods, floor])


def test_result_files_are_ranked_by_the_methods_they_share(tmp_path):
    paths = []
    for i, row in enumerate(AUC):
        scores = dict(zip(("a", "b", "c", "d"), row, strict=True)) | ({"e": 0.5} if i else {})
        one = result(f"data {i}", **scores)
        one.write_json(tmp_path / f"{i}.json")
        paths.append(tmp_path / f"{i}.json")
    found = compare_over_datasets(paths)
    assert found.methods == ("d", "b", "c", "a"), "neither references nor what one of them lacks"
    assert found.chi_square == pytest.approx(9.28, abs=0.005)
    assert found.datasets[3] == "data 3"
    assert compare_over_datasets(paths, references=True).methods[-1] == "majority"


def test_results_that_cannot_be_ranked_are_refused(tmp_path):
    one = result("x", a=0.9, b=0.8)
    with pytest.raises(InputError, match="two results are of a dataset named 'x'"):
        compare_over_datasets([one, one])
    with pytest.raises(InputError, match="with log_loss on all of them are needed, got 2 and 0"):
        compare_over_datasets({"x": one, "y": one}, metric="log_loss")
    (tmp_path / "r.json").write_text(json.dumps({"schema": 7}))
    with pytest.raises(InputError, match=r"r\.json.*schema 1 expected, got 7"):
        compare_over_datasets([tmp_path / "r.json"])


def test_holm_adjusts_as_in_wrights_definition():
    # By hand, as R's p.adjust(p, "holm") has it.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]).tolist() == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    assert holm([0.02, math.nan, 0.01]).tolist()[::2] == pytest.approx([0.02, 0.02])
    with pytest.raises(InputError, match="between 0 and 1"):
        holm([0.5, 1.2])


def test_holm_rejects_what_the_step_down_procedure_does():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.beta(0.3, 2, 8)
        rejected = np.zeros(8, bool)
        for step, i in enumerate(np.argsort(p)):
            if p[i] >= 0.05 / (8 - step):
                break
            rejected[i] = True
        assert ((holm(p) < 0.05) == rejected).all()


def test_pairs_are_one_family():
    p = np.array([[1, 0.01, 0.2], [0.01, 1, 0.03], [0.2, 0.03, 1]])
    expected = [[1, 0.03, 0.2], [0.03, 1, 0.06], [0.2, 0.06, 1]]
    assert holm_over_pairs(p).tolist() == [pytest.approx(row) for row in expected]
    with pytest.raises(InputError, match="symmetric"):
        holm_over_pairs([[1, 0.1], [0.2, 1]])


def test_without_correction_the_resampled_test_is_scipys():
    d = np.random.default_rng(0).normal(0.01, 0.02, 12)
    reference = ttest_1samp(d, 0)
    test = corrected_resampled_t_test(d, n_train=100, n_test=0)
    assert test.p_value == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert (test.low, test.high) == pytest.approx((interval.low, interval.high))
    assert test.effect == pytest.approx(d.mean() / d.std(ddof=1))


def test_the_corrected_test_is_that_of_scikit_learns_example():
    # "Statistical comparison of models using grid search": corrected_std and compute_corrected_ttest.
    from scipy.stats import t

    d = np.random.default_rng(1).normal(0.01, 0.02, 30)
    n_train, n_test, kr = 90, 10, len(d)
    corrected_std = np.sqrt(np.var(d, ddof=1) * (1 / kr + n_test / n_train))
    t_stat = np.mean(d) / corrected_std
    one_sided = t.sf(np.abs(t_stat), kr - 1)
    test = corrected_resampled_t_test(d, n_train=n_train, n_test=n_test)
    assert test.p_value == pytest.approx(2 * one_sided)
    assert corrected_resampled_t_test(-d, n_train=n_train, n_test=n_test).p_value == test.p_value


def test_the_interval_and_the_test_say_the_same():
    rng = np.random.default_rng(2)
    for _ in range(30):
        d = rng.normal(0.012, 0.02, 8)
        test = corrected_resampled_t_test(d, n_train=75, n_test=25)
        interval = corrected_interval(d, n_train=75, n_test=25)
        assert (interval.value, interval.low, interval.high) == (test.difference, test.low, test.high)
        assert (test.p_value < 0.05) == (not test.low <= 0 <= test.high)


def test_differences_that_never_vary():
    sizes = {"n_train": 3, "n_test": 1}
    assert corrected_resampled_t_test([0.0, 0.0], **sizes).p_value == 1
    equal = corrected_resampled_t_test([0.1] * 5, **sizes)
    assert equal.p_value == 1
    assert math.isnan(equal.low)
    assert math.isnan(corrected_interval([1.0, 1.0, 1.0], **sizes, within=(0, 1)).low)
    assert math.isnan(corrected_resampled_t_test([0.1], **sizes).p_value)
    assert corrected_interval([0.99, 1.0], **sizes, within=(0, 1)).high == 1
    for wrong in ({"n_train": 0, "n_test": 1}, {"n_train": 1, "n_test": -1}):
        with pytest.raises(InputError, match="n_train must be above 0"):
            corrected_resampled_t_test([0.1, 0.2], **wrong)


def test_without_a_difference_the_corrected_test_rejects_at_its_level_and_the_plain_one_does_not():
    corrected, plain, covered = simulations.resampled_rates(100, 10, 1000)
    assert corrected == pytest.approx(0.05, abs=0.015)
    assert covered == pytest.approx(0.95, abs=0.015)
    assert plain > 0.15


def test_without_a_difference_a_family_over_pairs_keeps_its_level_and_one_against_the_best_does_not():
    alone, against_best, over_pairs, beforehand = simulations.family_rates(8, 600, 300)
    assert alone > 0.3
    assert against_best > 0.065
    assert over_pairs <= 0.065
    assert beforehand <= 0.065


def test_without_a_difference_friedmans_f_rejects_at_its_level():
    f, chi = simulations.friedman_rates(4, 12, 1500)
    assert f == pytest.approx(0.05, abs=0.015)
    assert chi <= f
