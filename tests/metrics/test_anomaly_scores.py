"""Scores of anomaly detectors against scikit-learn, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
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
    np.testing.assert_allclose([found.low, found.high], np.percentile(draws, [2.5, 97.5]), atol=0.012)


def test_problems_on_the_same_images_have_a_mean():
    rng = np.random.default_rng(4)
    labels = np.arange(90) % 3
    scores = np.stack([rng.normal(size=90) + (labels == c) for c in range(3)])
    anomalous = np.stack([labels != c for c in range(3)])
    found = score_anomalies(scores, anomalous, strata=labels, n_boot=300)
    assert found.mean["auroc"].value == pytest.approx(np.mean([i.value for i in found.each["auroc"]]))
    narrow, wide = (i.high - i.low for i in (found.mean["auroc"], found.each["auroc"][0]))
    assert narrow < wide


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
