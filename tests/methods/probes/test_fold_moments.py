"""Moments of the rows outside each fold, compared with those of the rows themselves."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from featx.methods.probes import fold_moments
from featx.methods.probes.fold_moments import FoldMoments, mean_and_variance
from featx.methods.probes.folds import two_folds
from featx.methods.probes.training_rows import TrainingRows


def make_rows(n=90, d=8, dtype=np.float32):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.geomspace(0.01, 100, d) + 50
    X[:, 1] = 0.3  # constant
    X[:, 2] = np.arange(n) < 5  # constant outside a fold of the first rows
    X[:, 3] = 1e4 * (np.arange(n) < 5) + rng.normal(size=n)  # nearly so
    return X.astype(dtype), np.arange(n) % 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_and_variances_are_those_of_a_standard_scaler(dtype):
    X, _ = make_rows(dtype=dtype)
    scaler = StandardScaler().fit(X)
    mean, variance = mean_and_variance(X)
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-10)
    np.testing.assert_allclose(variance, scaler.var_, rtol=1e-8, atol=1e-20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_of_folds_are_standardised_as_by_scikit_learn(dtype, monkeypatch):
    monkeypatch.setattr(fold_moments, "_BLOCK", 50)
    X, y = make_rows(dtype=dtype)
    rows = TrainingRows(X, y)
    folds = [(np.delete(np.arange(90), held), held) for held in np.split(np.arange(90), [10, 50])]
    tolerance = {"rtol": 1e-3, "atol": 2e-3} if dtype == np.float32 else {"rtol": 1e-8, "atol": 1e-8}
    for part, (train, held) in zip(rows.parts(folds), folds, strict=True):
        assert part.sums[1] == (next(i for i, fold in enumerate(folds) if fold[1] is held),)
        scaler = StandardScaler().fit(X[train])
        for name in ("mean_", "var_", "scale_"):
            np.testing.assert_allclose(
                getattr(part.scaler, name), getattr(scaler, name), rtol=1e-8, atol=1e-12
            )
        assert vars(part.scaler).keys() == vars(scaler).keys()
        np.testing.assert_allclose(part.rows, scaler.transform(X[train]), **tolerance)
        np.testing.assert_allclose(part.held, scaler.transform(X[held]), rtol=1e-3, atol=2e-3)
        exact = part.rows.astype(np.float64)
        np.testing.assert_allclose(part.scatter, exact.T @ exact, **tolerance)
        np.testing.assert_allclose(part.scatter[1], 0, atol=1e-12)
        (counts, sums), squares = part.class_sums(), part.class_squares()
        for c, n in enumerate(counts):
            mine = scaler.transform(X[train].astype(np.float64))[y[train] == c]
            assert n == len(mine)
            np.testing.assert_allclose(sums[c], mine.sum(axis=0), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(squares[c], (mine**2).sum(axis=0), rtol=1e-6, atol=1e-6)


def test_all_rows_and_any_folds_are_sums_over_the_same_folds():
    X, y = make_rows()
    rows = TrainingRows(X, y)
    (train, held), halves = rows.folds[0], two_folds(rows.folds, y)
    for part in (rows.whole, *rows.parts([(train, held)]), *rows.parts(halves)):
        assert part.sums[0] is rows.sums
        np.testing.assert_allclose(part.scaler.mean_, X[part.train].mean(axis=0, dtype=np.float64))
        exact = part.rows.astype(np.float64)
        np.testing.assert_allclose(part.scatter, exact.T @ exact, rtol=1e-3, atol=2e-3)
    # Other rows than whole folds are summed on their own.
    (part,) = rows.parts([(np.arange(50), np.arange(60, 90))])
    np.testing.assert_allclose(part.scaler.mean_, X[:50].mean(axis=0, dtype=np.float64))


def test_threads_share_the_folds_and_compute_each_once(monkeypatch):
    X, y = make_rows()
    calls = []
    real = FoldMoments._sum_fold
    monkeypatch.setattr(FoldMoments, "_sum_fold", lambda self, f: calls.append(f) or real(self, f))
    parts = TrainingRows(X, y).parts(TrainingRows(X, y).folds)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: part.scatter, parts))
    assert sorted(calls) == list(range(5))
    for part, scatter in zip(parts, found, strict=True):
        np.testing.assert_array_equal(scatter, part.scatter)


def test_differences_do_not_count_on_the_size_of_the_features():
    X, _ = make_rows(dtype=np.float64)
    X[:, 5] = 1e7 + 1e-3 * X[:, 5]
    moments = FoldMoments(X, np.split(np.arange(90), 3))
    mean, variance = moments.mean_and_variance((0,))
    np.testing.assert_allclose(variance[5], X[30:, 5].var(), rtol=1e-6)
    np.testing.assert_allclose(mean, X[30:].mean(axis=0))
