"""Forests of rounded rows: scikit-learn's trees, which treat training rows alike, rounded or not."""

from __future__ import annotations

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from featx.methods.probes.fitters import trees
from featx.methods.probes.fitters.trees import (
    ForestFitter,
    count_independent,
    count_tried,
    judge_out_of_bag,
    round_features,
)
from featx.methods.probes.packed_trees import pack_forest
from featx.methods.probes.training_rows import TrainingRows


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.gamma(0.5, size=(300, 9)).astype(np.float32)
    X[:, 1] = X[:, 1].clip(1)  # more than half of the values are equal
    X[:, 2] = X[:, 2].round(1).clip(0, 0.7)  # eight values
    X[:, 3] = 7
    X[:, 4] *= -1e-20
    X[:, 5] *= 1e20
    y = (X[:, 0] > 0.4).astype(int) + (X[:, 8] > 0.3)
    return X, y


def round_one(feature: np.ndarray, values: int) -> np.ndarray:
    """Round one feature, value by value."""
    if len(np.unique(feature)) <= values:
        return feature
    ranks = [int((i + 0.5) * len(feature) / values) for i in range(values)]
    kept = sorted({float(np.sort(feature)[rank]) for rank in ranks})
    return np.array([min(kept, key=lambda value: (abs(value - float(x)), value)) for x in feature])


def test_features_are_rounded_to_the_nearest_of_their_values(rows):
    X, _ = rows
    expected = np.stack([round_one(feature, 8) for feature in X.T], axis=1)
    for given in (X, np.asfortranarray(X), X.astype(np.float64)):
        rounded = round_features(given, 8)
        assert rounded.dtype == np.float32
        np.testing.assert_array_equal(rounded, expected)
    np.testing.assert_array_equal(round_features(X, 300), X)
    np.testing.assert_array_equal(rounded[:, 2:4], X[:, 2:4])


@pytest.mark.parametrize("weight", [None, "balanced"])
def test_a_tree_treats_the_rows_it_has_drawn_alike_rounded_or_not(rows, weight):
    X, y = rows
    rounded = round_features(X, 16)
    forest = RandomForestClassifier(20, class_weight=weight, random_state=0).fit(rounded, y)
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        np.testing.assert_array_equal(tree.apply(X[drawn]), tree.apply(rounded[drawn]))


def test_trees_judge_the_rows_that_they_left_out_as_in_scikit_learn(rows, monkeypatch):
    X, y = rows
    y = y + 5
    expected = RandomForestClassifier(30, oob_score=True, random_state=0).fit(X, y)
    forest = RandomForestClassifier(30, random_state=0).fit(X, y)
    monkeypatch.setattr(trees, "_AT_ONCE", 70)
    with parallel_config("threading", n_jobs=2):
        judge_out_of_bag(forest, X.astype(np.float64), y)
    assert forest.oob_score_ == pytest.approx(expected.oob_score_, abs=1e-12)
    found = forest.oob_decision_function_
    np.testing.assert_allclose(found, expected.oob_decision_function_, rtol=1e-12)


def test_a_forest_is_that_of_scikit_learn_on_rounded_rows(rows):
    X, y = rows
    forest = RandomForestClassifier(10, oob_score=True, random_state=0)
    estimator, split = Pipeline([("forest", forest)]), TrainingRows(X, y)
    train, held = split.folds[0]
    fitter, part = ForestFitter(16), split.part(train, held)
    model = fitter.fit(part, estimator, {"forest__max_features": 3})
    expected = RandomForestClassifier(10, max_features=3, random_state=0)
    expected.fit(round_features(X[train], 16), y[train])
    found = model.predict_proba(X[held])
    np.testing.assert_array_equal(found, expected.predict_proba(X[held]))
    assert model.steps[-1][1].get_params() == estimator.steps[-1][1].get_params() | {"max_features": 3}
    (scores,) = fitter.scores(part, estimator, [{"forest__max_features": 3}])
    np.testing.assert_array_equal(scores.argmax(axis=1), found.argmax(axis=1))
    np.testing.assert_array_equal(pack_forest(model.steps[-1][1]).predict_proba(X[held]), found)


def test_independent_features_are_counted():
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(400, 60))
    constant = np.full((400, 3), 1e20)
    assert count_independent(np.hstack([alone, constant])) == pytest.approx(60, rel=0.05)
    # More features than rows: what correlates by chance does not count.
    assert count_independent(rng.normal(size=(80, 300)).astype(np.float32)) == pytest.approx(300, rel=0.1)
    copies = np.tile(alone[:, :6], 10) * np.geomspace(1e-3, 1e3, 60)
    assert count_independent(copies) == pytest.approx(6, rel=0.1)
    squares = np.corrcoef(copies + alone, rowvar=False) ** 2
    expected = 60**2 / (squares.sum() - 60 * 59 / 399)
    assert count_independent(copies + alone) == pytest.approx(expected)
    for few in (np.ones((5, 2)), alone[:2], alone[:, :1]):
        assert 0 <= count_independent(few) <= few.shape[1]


def test_fewer_features_are_tried_where_features_repeat_each_other():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 100))
    assert count_tried(X) in (9, 10)
    assert count_tried(np.repeat(X[:, :10], 10, axis=1)) == 6  # log2(100)
    assert [count_tried(np.ones((4, d))) for d in (1, 2, 3, 5, 9)] == [1, 1, 1, 2, 3]


@pytest.mark.parametrize("asked", ["log2", "sqrt"])
def test_few_rows_are_fitted_as_they_are(rows, asked):
    X, y = rows
    estimator = Pipeline([("forest", RandomForestClassifier(5, max_features=asked, random_state=0))])
    part = TrainingRows(X, y).whole
    for least, given in ((len(X) * 3, round_features(X, 8)), (len(X) * 3 + 1, X)):
        forest = ForestFitter(8, least).fit(part, estimator, {}).steps[-1][1]
        expected = RandomForestClassifier(5, max_features=3, random_state=0).fit(given, y)
        np.testing.assert_array_equal(forest.predict_proba(X), expected.predict_proba(X))
        assert forest.max_features == (3 if asked == "log2" else "sqrt")
