"""Temperatures: the optimum, few rows, missing classes, one conversion of scores for every batch."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import InputError
from featx.methods.probes.temperature import (
    LEAST_SHARE,
    TemperatureClassifier,
    fit_sharpness,
    log_scores,
    score_kind,
    tempered_loss,
)


@parametrize_with_checks([TemperatureClassifier(GaussianNB(), cv=2)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def scores_of(n=200, k=4, sharpness=3.0, seed=0):
    """Scores whose true temperature is `sharpness`: labels are drawn from softmax(scores / sharpness)."""
    rng = np.random.default_rng(seed)
    z = sharpness * rng.normal(size=(n, k))
    p = softmax(z / sharpness, axis=1)
    y = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return z - z.max(axis=1, keepdims=True), y


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_sharpness_is_the_optimum_of_the_smoothed_log_loss(scale):
    z, y = scores_of()
    n, k = z.shape
    target = np.full((n, k), 1 / ((n + 1) * k)) + np.eye(k)[y] * n / (n + 1)

    def loss(log_b):
        return -(target * log_softmax(np.exp(log_b) * z, axis=1)).sum()

    slow = minimize_scalar(loss, bounds=(-9, 9), method="bounded", options={"xatol": 1e-9})
    assert fit_sharpness(scale * z, y) * scale == pytest.approx(np.exp(slow.x), rel=1e-5)


def test_the_temperature_of_many_rows_is_the_true_one():
    z, y = scores_of(20_000)
    assert 1 / fit_sharpness(z, y) == pytest.approx(3.0, rel=0.05)
    assert tempered_loss(z, y) == pytest.approx(
        -log_softmax(z / 3, axis=1)[np.arange(20_000), y].mean(), abs=1e-3
    )


@pytest.mark.parametrize("n", [10, 100])
def test_without_an_error_the_doubt_is_that_of_jeffreys(n):
    y = np.arange(n) % 2
    z = np.where(np.eye(2)[y] > 0, 0.0, -5.0)
    b = fit_sharpness(z, y)
    assert softmax(b * z, axis=1).min(axis=1) == pytest.approx(np.full(n, 0.5 / (n + 1)), rel=1e-6)


def test_scores_that_know_nothing_keep_their_order():
    z, _ = scores_of()
    b = fit_sharpness(z, z.argmin(axis=1))
    assert 0 < b < 0.01
    np.testing.assert_array_equal(softmax(b * z, axis=1).argmax(axis=1), z.argmax(axis=1))
    assert fit_sharpness(np.zeros((5, 3)), np.zeros(5, int)) == 1


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        (GaussianNB(), "log probabilities"),
        (LinearDiscriminantAnalysis(), "margins"),
        (make_pipeline(StandardScaler(), LinearSVC()), "margins"),
        (make_pipeline(StandardScaler(), GaussianNB()), "log probabilities"),
        (KNeighborsClassifier(), "probabilities"),
        (RandomForestClassifier(5), "probabilities"),
    ],
)
def test_what_a_score_is_depends_on_the_classifier_alone(estimator, kind, train):
    assert score_kind(estimator) == kind
    assert score_kind(clone(estimator).fit(*train)) == kind


def test_binary_margins_are_log_odds(train):
    two = train[1] < 2
    model = LinearDiscriminantAnalysis().fit(train[0][two], train[1][two])
    np.testing.assert_allclose(
        softmax(log_scores(model, train[0], "margins"), axis=1), model.predict_proba(train[0]), atol=1e-6
    )


def test_no_vote_counts_as_a_hundredth_of_chance(train):
    model = KNeighborsClassifier(3).fit(*train)
    p, found = model.predict_proba(train[0]), log_scores(model, train[0], "probabilities")
    expected = np.log(np.maximum(p, LEAST_SHARE / 3))
    np.testing.assert_allclose(found, expected - expected.max(axis=1, keepdims=True))
    np.testing.assert_array_equal(found.argmax(axis=1), p.argmax(axis=1))


def test_scores_that_are_not_one_for_each_class_are_refused():
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 4
    with pytest.raises(InputError, match=r"SVC gives scores of shape \(\d+, 6\) for \d+ rows and 4 classes"):
        TemperatureClassifier(SVC(decision_function_shape="ovo")).fit(X, y)


def test_the_temperature_is_that_of_rows_held_out(train):
    X, y = train
    folds = StratifiedKFold(3)
    model = TemperatureClassifier(GaussianNB(), cv=list(folds.split(X, y))).fit(X, y + 7)
    z = cross_val_predict(GaussianNB(), X, y, cv=folds, method="predict_log_proba")
    assert model.temperature_ == pytest.approx(1 / fit_sharpness(z - z.max(axis=1, keepdims=True), y))
    np.testing.assert_array_equal(model.predict(X), GaussianNB().fit(X, y).predict(X) + 7)
    assert TemperatureClassifier(GaussianNB(), cv=3).fit(X, y).temperature_ == pytest.approx(
        model.temperature_
    )
    given = TemperatureClassifier(GaussianNB()).fit(
        X, y, fitted=GaussianNB().fit(X, y), held_out=(np.arange(60), z - z.max(axis=1, keepdims=True))
    )
    assert given.temperature_ == pytest.approx(model.temperature_)


def test_a_fold_may_lack_a_class(train):
    X, y = train
    other = np.flatnonzero(y < 2)
    folds = [
        (other[::2], np.setdiff1d(np.arange(60), other[::2])),
        (np.arange(0, 60, 2), np.arange(1, 60, 2)),
    ]
    model = TemperatureClassifier(GaussianNB(), cv=folds).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    lone = [(np.flatnonzero(y == 0), np.flatnonzero(y > 0))]
    with pytest.raises(InputError, match="every fold lacks a class"):
        TemperatureClassifier(GaussianNB(), cv=lone).fit(X, y)


def test_without_a_row_to_hold_out_the_training_rows_serve():
    X, y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 0, 1, 1, 2])
    p = TemperatureClassifier(KNeighborsClassifier(1)).fit(X, y).predict_proba(X)
    assert (p.max(axis=1) < 0.95).all()


def test_naive_bayes_says_the_same_of_one_image_as_of_many():
    """scikit-learn's temperature does not."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    # A thousand features with a common cause, as embeddings: naive Bayes counts it a thousand times.
    X = rng.normal(size=(400, 1, 8)) @ rng.normal(size=(8, 300)) + np.eye(4)[y][:, None] @ rng.normal(
        size=(4, 300)
    )
    X, new = np.split(X[:, 0].astype(np.float32), 2)
    y, true = np.split(y, 2)

    def losses(model):
        one = np.concatenate([model.predict_proba(row[None]) for row in new])
        return [
            -np.log(np.maximum(p[np.arange(200), true], 1e-15)).mean()
            for p in (model.predict_proba(new), one)
        ]

    together, alone = losses(TemperatureClassifier(GaussianNB()).fit(X, y))
    assert alone == pytest.approx(together, abs=1e-9)
    _, old_alone = losses(
        CalibratedClassifierCV(GaussianNB(), method="temperature", ensemble=False).fit(X, y)
    )
    assert old_alone > 2 * alone
