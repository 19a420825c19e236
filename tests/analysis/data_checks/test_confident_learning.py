"""Label errors: what cleanlab finds, what was planted, and that nothing is judged by who has seen it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.data_checks import confident_learning, find_label_errors, predict_out_of_sample
from featx.errors import InputError, MissingExtra, UnknownName
from featx.methods.probes.folds import make_folds


@pytest.fixture
def noisy():
    """60 images of 4 classes, a fifth with a wrong label, and probabilities that know better."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 60)
    given = true.copy()
    flip = rng.random(60) < 0.2
    given[flip] = (given[flip] + rng.integers(1, 4, flip.sum())) % 4
    scores = np.exp(np.eye(4)[true] * 2.0 + rng.normal(0, 1, (60, 4)))
    return given, scores / scores.sum(axis=1, keepdims=True)


def test_the_same_as_cleanlab_2_9(noisy):
    # find_label_issues(filter_by="confident_learning"), compute_confident_joint(calibrate=False)
    found = find_label_errors(*noisy)
    assert found.rows.tolist() == [29, 31, 58, 39, 23, 44, 24, 38, 35]
    by_margin = find_label_errors(*noisy, ranked_by="normalized_margin")
    assert by_margin.rows.tolist() == [29, 31, 58, 39, 23, 44, 38, 24, 35]


def test_asking_cleanlab_itself(noisy):
    pytest.importorskip("cleanlab")
    for ranked_by in confident_learning.RANKINGS:
        own, theirs = (
            find_label_errors(*noisy, ranked_by=ranked_by, implementation=name)
            for name in ("featx", "cleanlab")
        )
        assert own.rows.tolist() == theirs.rows.tolist()


def test_cleanlab_that_is_not_installed_names_its_extra(noisy, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtra, match=r"featx\[cleanlab\]"):
        find_label_errors(*noisy, implementation="cleanlab")


def test_the_joint_counted_one_by_one(noisy):
    given, p = noisy
    thresholds = [p[given == j, j].mean() for j in range(4)]
    joint = np.zeros((4, 4), int)
    for label, row in zip(given, p, strict=True):
        above = [j for j in range(4) if row[j] >= thresholds[j]]
        if above:
            joint[label, max(above, key=lambda j: row[j])] += 1
    assert find_label_errors(given, p).joint.tolist() == joint.tolist()


def test_what_is_said_of_each(noisy):
    given, p = noisy
    found = find_label_errors(given, p)
    assert (found.given == given[found.rows]).all()
    assert (found.suggested == p[found.rows].argmax(axis=1)).all()
    assert (found.confidence > found.self_confidence).all()
    assert (np.diff(found.self_confidence) >= 0).all()


def test_sound_labels_are_left_alone():
    given = np.arange(40) % 4
    p = np.full((40, 4), 0.1)
    p[np.arange(40), given] = 0.7
    assert len(find_label_errors(given, p)) == 0


def test_a_class_that_no_image_is_labelled_with_is_never_suggested_confidently():
    p = np.array([[0.5, 0.1, 0.4], [0.1, 0.6, 0.3], [0.0, 0.1, 0.9]])
    assert find_label_errors([0, 1, 0], p).joint[:, 2].tolist() == [0, 0, 0]


def test_planted_errors_are_found_from_embeddings():
    rng = np.random.default_rng(1)
    true = np.repeat(np.arange(3), 60)
    X = (4 * np.eye(3)[true] @ rng.normal(size=(3, 20)) + rng.normal(size=(180, 20))).astype(np.float32)
    wrong = rng.choice(180, 12, replace=False)
    given = true.copy()
    given[wrong] = (given[wrong] + 1) % 3
    order = rng.permutation(180)
    p = predict_out_of_sample(X, given, order[:130], order[130:])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    found = find_label_errors(given, p)
    assert set(wrong.tolist()) == set(found.rows.tolist())
    assert (found.suggested == true[found.rows]).all()


def test_no_image_is_judged_by_a_model_that_saw_it(monkeypatch):
    """Labels without any meaning cannot be predicted, however many features there are to learn them by."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 100)).astype(np.float32), np.arange(200) % 2
    p = predict_out_of_sample(X, y, np.arange(150), np.arange(150, 190))
    right = (p.argmax(axis=1) == y)[:190].mean()
    assert 0.35 < right < 0.65
    assert np.isnan(p[190:]).all()


def by_scikit_learn(X, y, train, test):
    """The same probabilities from a pipeline of scikit-learn for each fold."""
    found = np.zeros((len(X), y.max() + 1))
    folds = make_folds(y[train], None, 0)
    for learnt, held in folds:
        logistic = LogisticRegression(C=1 / X.shape[1])
        model = make_pipeline(StandardScaler(), PCA(12, svd_solver="full"), logistic)
        model.fit(X[train[learnt]], y[train[learnt]])
        found[train[held]] = model.predict_proba(X[train[held]])
        found[test] += model.predict_proba(X[test]) / len(folds)
    return found


@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities_are_those_of_scikit_learn(n_classes, monkeypatch):
    monkeypatch.setattr(confident_learning, "_COMPONENTS", 12)
    rng = np.random.default_rng(2)
    true = rng.integers(0, n_classes, 1500)
    # The first 12 components are the same on any sample: rows have 12 directions and little noise.
    latent = rng.normal(size=(n_classes, 12))[true] + rng.normal(size=(1500, 12))
    X = latent @ rng.normal(size=(12, 30)) + 0.05 * rng.normal(size=(1500, 30)) + 5
    wrong = rng.choice(1500, 60, replace=False)
    y = true.copy()
    y[wrong] = (y[wrong] + 1) % n_classes
    order = rng.permutation(1500)
    p = predict_out_of_sample(X.astype(np.float32), y, order[:1200], order[1200:])
    expected = by_scikit_learn(X, y, order[:1200], order[1200:])
    np.testing.assert_allclose(p, expected, atol=0.03)
    assert np.abs(p - expected).mean() < 0.005
    ours, theirs = (set(find_label_errors(y, q).rows.tolist()) for q in (p, expected))
    assert len(ours ^ theirs) <= 0.05 * len(theirs)


def test_a_large_set_is_learnt_from_in_part(monkeypatch):
    monkeypatch.setattr(confident_learning, "MOST_ROWS", 40)
    y = np.array([0] * 180 + [1] * 20)
    X = np.random.default_rng(0).normal(3.0 * y[:, None], 1, (200, 8)).astype(np.float32)
    p = predict_out_of_sample(X, y, np.arange(200), np.empty(0, np.int64))
    assert (p.argmax(axis=1) == y).mean() > 0.95
    taken = confident_learning._subsample(y, np.arange(200), np.random.default_rng(0).permutation(200))
    assert np.bincount(y[taken]).tolist() == [36, 5]


def test_a_class_with_one_training_image_cannot_be_judged():
    y = np.array([0, 0, 0, 1])
    assert predict_out_of_sample(np.eye(4, dtype=np.float32), y, np.arange(4), np.empty(0, np.int64)) is None


@pytest.mark.parametrize(
    ("given", "p", "message"),
    [
        ([0, 1], [[0.5, 0.5]], r"got \(2,\) and \(1, 2\)"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "whole numbers from 0 to 1"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "row 1 are not finite"),
        ([0, 1], [[0.5, 0.5], [1.5, -0.5]], "between 0 and 1, got -0.5 to 1.5"),
    ],
)
def test_what_does_not_fit_is_refused(given, p, message):
    with pytest.raises(InputError, match=message):
        find_label_errors(given, p)


def test_unknown_names_are_refused(noisy):
    with pytest.raises(UnknownName, match="unknown ranking 'margin'"):
        find_label_errors(*noisy, ranked_by="margin")
    with pytest.raises(UnknownName, match="unknown implementation 'clean'"):
        find_label_errors(*noisy, implementation="clean")
