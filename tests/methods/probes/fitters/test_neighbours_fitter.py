"""Neighbours from one product, compared with scikit-learn's own fits of each k."""

import pickle

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from slow_probes import overlapping_clusters

from featx.methods.probes import products
from featx.methods.probes.fitters import SklearnFitter, neighbours
from featx.methods.probes.fitters.neighbours import NeighboursFitter, find_neighbours
from featx.methods.probes.training_rows import TrainingRows

KS = [{"knn__n_neighbors": k} for k in (7, 3, 1)]


def make(kind, components):
    """The probe, with exact principal components."""
    pca = PCA(components, svd_solver="full")
    knn = kind(1, algorithm="brute", weights="distance")
    return Pipeline([("scale", StandardScaler()), ("pca", pca), ("unit", Normalizer()), ("knn", knn)])


def make_rows(counts, d, dtype=np.float32, labels=None):
    """Overlapping clusters, some rows and labels of which are there twice."""
    X, y = overlapping_clusters(counts, d, dtype, labels, scales=(0.3, 3))
    X[-4:], y[-4:] = X[1:5], y[1:5]
    return X, y


CASES = {
    "balanced": (*make_rows([40, 40, 40], 20), 8),
    "two classes": (*make_rows([50, 20], 15, labels=[5, -2]), 8),
    "fewer rows than features": (*make_rows([12, 8, 5], 60), 9),
    "float64": (*make_rows([30, 30, 20], 15, np.float64, labels=[7, 1, 4]), 8),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_scikit_learn(case, monkeypatch):
    monkeypatch.setattr(products, "_MOST_PRODUCTS", 300)
    monkeypatch.setattr(neighbours, "_BLOCK", 7)
    X, y, components = CASES[case]
    rows, model = TrainingRows(X, y), make(KNeighborsClassifier, components)
    for part in rows.parts(rows.folds):
        found, expected = (f.scores(part, model, KS) for f in (NeighboursFitter(), SklearnFitter()))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_the_fitted_pipeline_is_that_of_scikit_learn(case):
    X, y, components = CASES[case]
    whole, model = TrainingRows(X, y).whole, make(KNeighborsClassifier, components)
    found, expected = (f.fit(whole, model, KS[0]) for f in (NeighboursFitter(), SklearnFitter()))
    queries = X[::2] + np.float32(0.01)
    np.testing.assert_allclose(
        found.predict_proba(queries), expected.predict_proba(queries), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(found.classes_, np.unique(y))
    assert found[-1].get_params() == expected[-1].get_params()
    assert found.n_features_in_ == X.shape[1]
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict_proba(queries), found.predict_proba(queries))


@pytest.mark.parametrize("n", [60, 20])
def test_regression_is_that_of_scikit_learn(n):
    X, _ = make_rows([n], 30)
    y = X[:, 1] * 100 + 5
    rows, model = TrainingRows(X, y, task="numbers"), make(KNeighborsRegressor, 8)
    part = rows.parts(rows.folds)[0]
    found, expected = (f.scores(part, model, KS) for f in (NeighboursFitter(), SklearnFitter()))
    assert found.shape == (3, len(part.held_out))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)
    ours, theirs = (f.fit(rows.whole, model, KS[0]) for f in (NeighboursFitter(), SklearnFitter()))
    np.testing.assert_allclose(ours.predict(X + 0.01), theirs.predict(X + 0.01), rtol=1e-3, atol=1e-2)


def test_folds_with_fewer_rows_than_components_use_fewer_components():
    X, y, _ = CASES["fewer rows than features"]
    rows = TrainingRows(X, y, np.arange(25) // 5)
    for part in rows.parts(rows.folds):
        found, expected = (
            NeighboursFitter().scores(part, make(KNeighborsClassifier, most), KS)
            for most in (25, part.fewest)
        )
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("k", [1, 5, 60])
def test_neighbours_are_those_of_scikit_learn(k):
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(60, 9)), rng.normal(size=(40, 9))
    near, distances = find_neighbours(rows, queries, k)
    expected = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(rows).kneighbors(queries)
    np.testing.assert_allclose(distances, expected[0])
    np.testing.assert_array_equal(near, expected[1])


def test_equal_rows_have_a_distance_of_0_and_the_first_comes_first():
    rows = np.random.default_rng(0).normal(size=(30, 200)).astype(np.float32)
    rows[[11, 5]] = rows[20]
    near, distances = find_neighbours(rows, rows[[20]], 4)
    assert near[0, :3].tolist() == [5, 11, 20]
    assert distances[0, :3].tolist() == [0, 0, 0]
    assert distances[0, 3] > 1
