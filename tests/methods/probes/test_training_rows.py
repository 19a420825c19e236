"""The work that probes share, compared with scikit-learn's own scaler and PCA."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from featx.data.splits import Split
from featx.methods.probes import parts, training_rows
from featx.methods.probes.training_rows import TrainingRows
from featx.studies.evaluation import LabelledRows


def make_rows(n, d, dtype=np.float32):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) * np.geomspace(3, 0.1, d) @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    return (X + rng.normal(size=d)).astype(dtype), np.arange(n) % 3


@pytest.mark.parametrize(("n", "d"), [(90, 12), (30, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_part_holds_what_scaler_and_pca_would_give(n, d, dtype):
    X, y = make_rows(n, d, dtype)
    train, held = np.arange(n) % 4 > 0, np.arange(n) % 4 == 0
    part = TrainingRows(X, y).part(np.flatnonzero(train), np.flatnonzero(held))
    scaler = StandardScaler().fit(X[train])
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == np.float32 else {"rtol": 1e-8, "atol": 1e-8}
    np.testing.assert_allclose(part.rows, scaler.transform(X[train]), **tolerance)
    np.testing.assert_allclose(part.held, scaler.transform(X[held]), **tolerance)
    np.testing.assert_allclose(part.scatter, part.rows.T @ part.rows, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(part.kernel, part.rows @ part.rows.T, rtol=1e-3, atol=1e-3)
    pca = PCA(5, svd_solver="full").fit(part.rows)
    for rows, found in zip((part.rows, part.held), part.projected(5), strict=True):
        expected = pca.transform(rows)
        signs = np.sign((expected * found).sum(axis=0))
        np.testing.assert_allclose(found * signs, expected, rtol=1e-3, atol=5e-3)
        np.testing.assert_allclose(part.pca(5).transform(rows), found, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(part.pca(5).explained_variance_, pca.explained_variance_, rtol=1e-3)
    np.testing.assert_allclose(part.pca(5).noise_variance_, pca.noise_variance_, rtol=1e-2)
    np.testing.assert_allclose(
        part.pca(5).explained_variance_ratio_, pca.explained_variance_ratio_, rtol=1e-3
    )


def test_few_components_are_the_first_of_many_whatever_is_asked_for_first():
    X, y = make_rows(60, 20)
    many_first, few_first = (TrainingRows(X, y).whole for _ in range(2))
    many = many_first.projected(20)[0]
    few = few_first.projected(3)[0]
    np.testing.assert_array_equal(few, many[:, :3])
    np.testing.assert_array_equal(few_first.projected(20)[0], many)


@pytest.mark.parametrize(("n", "d"), [(60, 20), (15, 20)])
def test_leading_components_do_not_depend_on_who_asked_for_all_axes(n, d, monkeypatch):
    monkeypatch.setattr(parts, "MOST_COMPONENTS", 8)
    X, y = make_rows(n, d)
    after, alone = TrainingRows(X, y).whole, TrainingRows(X, y).whole
    axes, variances = after.axes(min(n, d))
    assert len(axes) == len(variances) == min(n, d)
    for found, expected in zip(after.projected(5), alone.projected(5), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(after.pca(5).components_, alone.pca(5).components_)
    np.testing.assert_allclose(alone.projected(12)[0], after.rows @ axes[:12].T, rtol=1e-4, atol=1e-4)


def test_centred_rows_have_one_axis_less_than_rows():
    X, y = make_rows(10, 40)
    axes, variances = TrainingRows(X, y).whole.axes(10)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), [1] * 9 + [0], atol=1e-5)
    assert variances[-1] < 1e-6 * variances[0]


def test_rows_that_are_all_equal_have_components_of_zeros():
    part = TrainingRows(np.ones((6, 10), np.float32), np.arange(6) % 2).whole
    np.testing.assert_array_equal(part.projected(2)[0], np.zeros((6, 2)))


def test_each_part_is_made_once_and_can_be_freed():
    X, y = make_rows(60, 5)
    rows = TrainingRows(X, y)
    first = rows.parts(rows.folds)
    assert all(a is b for a, b in zip(first, rows.parts(rows.folds), strict=True))
    assert {part.fewest for part in first} == {48}
    rows.forget()
    assert rows.parts(rows.folds)[0] is not first[0]


def test_settings_are_selected_on_a_sample_of_a_large_set(monkeypatch):
    monkeypatch.setattr(training_rows, "SELECTION_ROWS", 30)
    X, y = make_rows(90, 5)
    rows = TrainingRows(X, y, np.arange(90) // 2)
    assert rows.sample is rows.sample
    assert len(rows.sample) == 30
    assert len(rows.sample.groups) == 30
    # Where the sample cannot be folded, all rows are used.
    lonely = TrainingRows(X, y, y)
    assert lonely.sample is lonely


def test_methods_on_one_split_share_their_training_rows():
    X, y = make_rows(60, 5)
    rows = LabelledRows(X, y, 3)
    split = Split(np.arange(40), np.arange(40, 60))
    shared = rows.training_rows(split.train, 0)
    np.testing.assert_array_equal(shared.X, X[:40])
    assert rows.training_rows(split.train.copy(), 0) is shared
    assert rows.training_rows(split.train, 1) is not shared
    assert rows.training_rows(split.test, 0) is not shared
    assert rows.training_rows(split.train, 0) is not shared  # two others were asked for since
