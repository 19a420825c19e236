"""Ridge by normal equations, compared with scikit-learn's own fits of each penalty."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from slow_probes import overlapping_clusters

from featx.methods.probes.fitters import SklearnFitter
from featx.methods.probes.fitters.ridge import RidgeFitter
from featx.methods.probes.training_rows import TrainingRows

ALPHAS = (100.0, 1.0, 0.05)


def make(last):
    return Pipeline([("scale", StandardScaler()), ("ridge", last)])


def candidates(*weights):
    found = [{"ridge__alpha": alpha} for alpha in ALPHAS]
    return [c | {"ridge__class_weight": w} for w in weights for c in found] if weights else found


CASES = {
    "balanced": overlapping_clusters([40, 40, 40], 20),
    "imbalanced": overlapping_clusters([80, 30, 10], 20),
    "two classes": overlapping_clusters([50, 30], 15, labels=[5, -2]),
    "fewer rows than features": overlapping_clusters([12, 8, 5], 60),
    "two classes, few rows": overlapping_clusters([9, 6], 40, labels=[3, 9]),
    "float64": overlapping_clusters([30, 30, 20], 15, np.float64),
    "float64, few rows": overlapping_clusters([8, 5, 5], 40, np.float64, labels=[7, 1, 4]),
    "fewer rows than classes in a fold": overlapping_clusters([2] * 12, 5),
}


def assert_close(found, expected, dtype):
    tolerance = 1e-9 if dtype == np.float64 else 2e-3
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=max(tolerance, 1e-6))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weights", [(), (None, "balanced")])
def test_scores_are_those_of_scikit_learn(case, weights):
    X, y = CASES[case]
    rows, model = TrainingRows(X, y), make(RidgeClassifier(alpha=3.0))
    for part in rows.parts(rows.folds):
        found = RidgeFitter().scores(part, model, candidates(*weights))
        expected = SklearnFitter().scores(part, model, candidates(*weights))
        assert found.dtype == np.float32
        assert_close(found, expected, np.float32)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weight", [None, "balanced"])
def test_the_fitted_pipeline_is_that_of_scikit_learn(case, weight):
    X, y = CASES[case]
    settings = {"ridge__alpha": 2.0, "ridge__class_weight": weight}
    model, whole = make(RidgeClassifier()), TrainingRows(X, y).whole
    found, expected = RidgeFitter().fit(whole, model, settings), SklearnFitter().fit(whole, model, settings)
    assert_close(found.decision_function(X), expected.decision_function(X), X.dtype)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    ours, theirs = found[-1], expected[-1]
    assert vars(ours).keys() == vars(theirs).keys()
    for name in ("coef_", "intercept_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert found.n_features_in_ == X.shape[1]
    assert ours.get_params() == theirs.get_params()
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.decision_function(X), found.decision_function(X))
    assert clone(found).set_params(**settings).fit(X, y).predict(X).shape == y.shape


@pytest.mark.parametrize(("n", "d"), [(80, 12), (20, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regression_is_that_of_scikit_learn(n, d, dtype):
    X, _ = overlapping_clusters([n], d, dtype)
    y = (X @ np.linspace(-1, 1, d) + np.random.default_rng(1).normal(size=n)) * 100 + 5000
    rows, model = TrainingRows(X, y, task="numbers"), make(Ridge(alpha=3.0))
    part = rows.parts(rows.folds)[0]
    found = RidgeFitter().scores(part, model, candidates())
    expected = SklearnFitter().scores(part, model, candidates())
    assert found.shape == (len(ALPHAS), len(part.held_out))
    assert_close(found, expected, dtype)
    ours, theirs = (
        fitter.fit(rows.whole, model, candidates()[1]) for fitter in (RidgeFitter(), SklearnFitter())
    )
    assert_close(ours.predict(X), theirs.predict(X), dtype)
    assert vars(ours[-1]).keys() == vars(theirs[-1]).keys()
    assert np.shape(ours[-1].intercept_) == ()


def test_groups_stay_together_and_the_other_rows_do_not_matter():
    X, y = overlapping_clusters([40, 40], 10)
    rows = TrainingRows(X, y, np.arange(80) // 4)
    part = rows.parts(rows.folds)[0]
    found = RidgeFitter().scores(part, make(RidgeClassifier()), [{}])[0]
    model = make(RidgeClassifier()).fit(X[part.train], y[part.train])
    assert_close(found[:, 1] - found[:, 0], model.decision_function(X[part.held_out]), np.float32)


def test_rounding_errors_above_the_penalty_do_no_harm(monkeypatch):
    X, y = overlapping_clusters([30, 30], 5, np.float64)
    X = np.hstack([X, X])
    part = TrainingRows(X, y).whole
    # Products summed in single precision may leave an eigenvalue below zero.
    scatter = part.scatter - 1e-7 * np.eye(10)
    monkeypatch.setattr(type(part), "scatter", scatter)
    found = RidgeFitter().fit(part, make(RidgeClassifier()), {"ridge__alpha": 1e-9})
    expected = make(RidgeClassifier(alpha=1e-9, solver="svd")).fit(X, y)
    np.testing.assert_allclose(found.decision_function(X), expected.decision_function(X), atol=1e-4)
