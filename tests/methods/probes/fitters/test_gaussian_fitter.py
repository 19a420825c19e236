"""Discriminant analysis and naive Bayes from class moments, compared with scikit-learn's own fits."""

import pickle
from itertools import product

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from slow_probes import overlapping_clusters

from featx.methods.probes.fitters import SklearnFitter
from featx.methods.probes.fitters.gaussian import Discriminant, GaussianFitter
from featx.methods.probes.training_rows import TrainingRows


def make_lda(components):
    """The probe, with exact principal components."""
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    pca = PCA(components, svd_solver="full")
    return Pipeline([("scale", StandardScaler()), ("pca", pca), ("last", lda)])


def make_bayes(*_):
    return Pipeline([("scale", StandardScaler()), ("last", GaussianNB(var_smoothing=0.1))])


def make_sphere(components):
    """What the probe is for few rows."""
    pca = PCA(components, svd_solver="full")
    return Pipeline([("scale", StandardScaler()), ("pca", pca), ("last", GaussianNB(var_smoothing=1.0))])


def candidates(model, n_classes):
    name, values = "shrinkage", [0.9, 0.5, 0.1, "auto"]
    if isinstance(model[-1], GaussianNB):
        name, values = "var_smoothing", [10.0, 1.0, 0.01]
    priors = [None, [1 / n_classes] * n_classes]
    return [{f"last__{name}": v, "last__priors": p} for v, p in product(values, priors)]


CASES = {
    "balanced": (*overlapping_clusters([40, 40, 40], 20), 8),
    "imbalanced": (*overlapping_clusters([80, 30, 10], 20), 12),
    "two classes": (*overlapping_clusters([50, 30], 15, labels=[5, -2]), 10),
    "fewer rows than features": (*overlapping_clusters([12, 8, 5], 60), 9),
    "float64": (*overlapping_clusters([30, 30, 20], 15, np.float64, labels=[7, 1, 4]), 8),
    "one row of a class in a fold": (*overlapping_clusters([2] * 12, 30), 9),
    "one component": (*overlapping_clusters([10, 15], 8), 1),
}
MODELS = {"lda": make_lda, "naive Bayes": make_bayes, "few-shot lda": make_sphere}


# A class of one row rightly adds nothing to the scatter within classes.
@pytest.mark.filterwarnings("ignore:Only one sample available")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_those_of_scikit_learn(case, kind):
    X, y, components = CASES[case]
    rows, model = TrainingRows(X, y), MODELS[kind](components)
    if kind == "lda" and case == "one row of a class in a fold":
        pytest.skip("scikit-learn has no covariance then, and the probe is another")
    for part in rows.parts(rows.folds):
        settings = candidates(model, len(rows.classes))
        found, expected = (f.scores(part, model, settings) for f in (GaussianFitter(), SklearnFitter()))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", MODELS)
def test_the_fitted_pipeline_is_that_of_scikit_learn(case, kind):
    X, y, components = CASES[case]
    whole, model = TrainingRows(X, y).whole, MODELS[kind](components)
    for settings in candidates(model, len(np.unique(y)))[-2:]:
        found, expected = (f.fit(whole, model, settings) for f in (GaussianFitter(), SklearnFitter()))
        np.testing.assert_allclose(
            found.predict_log_proba(X), expected.predict_log_proba(X), rtol=5e-3, atol=5e-3
        )
        np.testing.assert_array_equal(found.predict(X), expected.predict(X))
        ours, theirs = vars(found[-1]), vars(expected[-1])
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert np.shape(ours[name]) == np.shape(theirs[name]), name
        again = pickle.loads(pickle.dumps(found))
        np.testing.assert_array_equal(again.predict_proba(X), found.predict_proba(X))


@pytest.mark.parametrize("kind", MODELS)
def test_groups_may_leave_fewer_rows_than_components(kind):
    X, y, _ = CASES["fewer rows than features"]
    rows, model = TrainingRows(X, y, np.arange(25) // 5), MODELS[kind](25)
    part = rows.parts(rows.folds)[0]
    settings = candidates(model, 3)[:2]
    found, expected = (f.scores(part, model, settings) for f in (GaussianFitter(), SklearnFitter()))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


def test_without_shrinkage_a_covariance_without_inverse_is_solved_by_least_squares():
    X, y = overlapping_clusters([5, 6], 20, np.float64)
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    coef, intercept = Discriminant(X, y).solve(None, None)
    scores = X @ (coef[1] - coef[0]) + intercept[1] - intercept[0]
    np.testing.assert_allclose(scores, lda.decision_function(X), rtol=1e-6, atol=1e-6)


def test_rows_that_are_all_equal_are_told_apart_by_their_number_only():
    rows = TrainingRows(np.ones((9, 5), np.float32), np.arange(9) // 6)
    for kind in ("lda", "naive Bayes"):
        p = GaussianFitter().fit(rows.whole, MODELS[kind](2), {}).predict_proba(rows.X)
        np.testing.assert_allclose(p, np.tile([6 / 9, 3 / 9], (9, 1)), rtol=1e-5)
