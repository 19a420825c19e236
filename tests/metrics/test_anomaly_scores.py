"""Scores of anomaly detectors against scikit-learn, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import simulated_scores
from sklearn.metrics import roc_auc_score, roc_curve

from featx.errors import InputError
from featx.metrics import score_anomalies


def test_scores_agree_with_scikit_learn():
    rng = np.random.default_rng(2)
    anomalous = np.arange(200) < 70
    scores = np.round(rng.normal(size=200) - 0.8 * anomalous, 1)  # with ties
    found = score_anomalies(scores, anomalous, n_boot=200)
    assert found.each["auroc"][0].value == pytest.approx(roc_auc_score(anomalous, -scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(anomalous, -scores, drop_intermediate=False)
    assert found.each["fpr95"][0].value == pytest.approx(fpr[np.argmax(tpr >= 0.95)])
    assert found.mean["auroc"] == found.each["auroc"][0]
    for interval in (*found.each["auroc"], *found.each["fpr95"]):
        assert interval.low < interval.value < interval.high


def test_the_interval_is_that_of_resampled_images():
    rng = np.random.default_rng(3)
    anomalous = np.arange(120) < 50
    scores = rng.normal(size=120) - anomalous
    draws = []
    for _ in range(2000):
        # No normal score ties an anomalous one, so AUROC is the share of pairs in the right order.
        bad, good = rng.choice(scores[anomalous], 50), rng.choice(scores[~anomalous], 70)
        draws.append((bad[:, None] < good).mean())
    assert draws[-1] == pytest.approx(roc_auc_score([1] * 50 + [0] * 70, -np.r_[bad, good]))
    found = score_anomalies(scores, anomalous, n_boot=2000).each["auroc"][0]
    # The exact interval is a little wider than the percentile interval.
    low, high = np.percentile(draws, [2.5, 97.5])
    assert low - 0.03 < found.low < low + 0.005
    assert high - 0.005 < found.high < high + 0.02


def test_problems_on_the_same_images_have_a_mean():
    rng = np.random.default_rng(4)
    labels = np.arange(90) % 3
    scores = np.stack([rng.normal(size=90) + (labels == c) for c in range(3)])
    anomalous = np.stack([labels != c for c in range(3)])
    found = score_anomalies(scores, anomalous, strata=labels, n_boot=300)
    assert found.mean["auroc"].value == pytest.approx(np.mean([i.value for i in found.each["auroc"]]))
    narrow, wide = (i.high - i.low for i in (found.mean["auroc"], found.each["auroc"][0]))
    assert narrow < wide


def test_no_interval_has_zero_width_where_all_is_in_order():
    anomalous = np.arange(60) < 20
    found = score_anomalies(np.where(anomalous, 0.0, 1.0) + np.arange(60) / 100, anomalous)
    auroc, fpr = found.mean["auroc"], found.mean["fpr95"]
    assert (auroc.value, auroc.high) == (1, 1)
    assert auroc.low == pytest.approx(0.025 ** (1 / 20))
    assert (fpr.value, fpr.low) == (0, 0)
    assert fpr.high == 1  # 20 anomalies do not show where 95 % of all lie


def test_copies_of_the_images_hardly_change_the_intervals_if_they_are_units():
    rng = np.random.default_rng(5)
    anomalous = np.arange(200) < 100
    scores = rng.normal(size=200) - 1.5 * anomalous
    once = score_anomalies(scores, anomalous).mean
    units = np.repeat(np.arange(200), 5)
    again = score_anomalies(np.repeat(scores, 5), np.repeat(anomalous, 5), units=units).mean
    for name in once:
        assert (again[name].low, again[name].high) == pytest.approx(
            (once[name].low, once[name].high), abs=0.015
        )


def test_units_with_both_kinds_are_drawn_whole():
    rng = np.random.default_rng(6)
    anomalous = np.arange(80) % 2 == 0
    scores = rng.normal(size=80) - anomalous
    found = score_anomalies(scores, anomalous, units=np.arange(80) // 8).mean
    for name in ("auroc", "fpr95"):
        assert found[name].low < found[name].value < found[name].high
    # Some resamples of two units lack a kind, and are left out.
    few = score_anomalies(scores[:8], anomalous[:8], units=np.where(anomalous[:8], 0, 1)).mean["auroc"]
    assert few.low <= few.value <= few.high


def test_the_intervals_hold_the_true_scores():
    one_each, groups = np.ones(50, int), np.full(30, 4)
    for rates in (
        simulated_scores.anomalies(one_each, one_each, 2.0, 100),
        simulated_scores.anomalies(groups, groups, 2.0, 80, icc=0.5),
    ):
        assert min(rates.values()) >= 0.93


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_anomalies([1.0, 2.0], [True, True]), "all 2 images are of one kind"),
        (lambda: score_anomalies([1.0, np.nan], [True, False]), "scores must be finite numbers"),
        (lambda: score_anomalies([[1.0, 2.0]] * 2, [[True, False]] * 2), "several problems need strata"),
    ],
)
def test_what_cannot_be_scored_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
