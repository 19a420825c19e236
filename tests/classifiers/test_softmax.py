"""Loss, gradient and Hessian of a multinomial logistic regression, against what a textbook writes."""

import numpy as np
import pytest
from scipy.special import softmax as softmax_of

from featx.classifiers import softmax


def problem(n=60, p=5, k=4, size=0.5):
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(n, p)) + 1, rng.integers(0, k, n)
    rows = softmax.NumpyRows(X, codes, rng.random(n) + 0.5, k)
    theta = size * rng.normal(size=(p + 1, k)) * np.arange(1, k + 1)  # classes of unequal frequency
    rows.loss_and_gradient(theta)
    return rows, theta


def explicit_hessian(rows, theta):
    """With the axes (feature, class, feature, class), the intercept the last feature."""
    x = np.hstack([rows.X, np.ones((len(rows.X), 1))])
    P = softmax_of(x @ theta, axis=1)
    S = np.einsum("ic,cd->icd", P, np.eye(P.shape[1])) - np.einsum("ic,id->icd", P, P)
    return np.einsum("i,icd,ia,ib->acbd", rows.weights, S, x, x, optimize=True)


def test_a_nearly_certain_row_keeps_its_loss_in_single_precision():
    z = np.array([[30.0], [0.0], [-3.0]], np.float32)
    loss, error = softmax._loss_and_error(z.copy(), np.array([0]))
    exact = np.exp(-30) + np.exp(-33)
    np.testing.assert_allclose(loss, exact, rtol=1e-5)
    np.testing.assert_allclose(error[:, 0], [-exact, np.exp(-30), np.exp(-33)], rtol=1e-5)


def test_the_hessian_is_the_change_of_the_gradient():
    rows, theta = problem()
    V = np.random.default_rng(1).normal(size=theta.shape)
    ahead, behind = (rows.loss_and_gradient(theta + s * 1e-5 * V)[1] for s in (1, -1))
    rows.loss_and_gradient(theta)
    np.testing.assert_allclose(rows.hessian(V), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


def test_the_hessian_is_the_explicit_one():
    rows, theta = problem()
    V = np.random.default_rng(1).normal(size=theta.shape)
    expected = np.einsum("acbd,bd->ac", explicit_hessian(rows, theta), V)
    np.testing.assert_allclose(rows.hessian(V), expected, rtol=1e-10, atol=1e-10)


def test_directions_uncouple_the_classes_on_average_and_begin_with_what_they_have_in_common():
    rows, theta = problem()
    U = rows.class_directions()
    np.testing.assert_allclose(U.T @ U, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(np.abs(U[:, 0]), 0.5)
    # The Hessian by the intercepts is sum_i s_i S_i.
    coupled = U.T @ explicit_hessian(rows, theta)[-1, :, -1] @ U
    eigenvalues = np.diag(coupled)
    np.testing.assert_allclose(coupled, np.diag(eigenvalues), atol=1e-12)
    assert eigenvalues[0] == pytest.approx(0, abs=1e-12)
    assert rows.curvature() == pytest.approx(eigenvalues.sum())


@pytest.mark.parametrize("limit", [1e9, 0], ids=["a block for each direction", "one for all"])
def test_blocks_from_all_rows_are_those_of_the_explicit_hessian(monkeypatch, limit):
    monkeypatch.setattr(softmax, "_OWN_BLOCKS", limit)
    rows, theta = problem()
    U = rows.class_directions()
    expected = np.einsum("cj,acbd,dj->jab", U, explicit_hessian(rows, theta), U)
    if not limit:
        expected = expected.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(rows.diagonal_blocks(U, len(rows.X)), expected, rtol=1e-9, atol=1e-12)


def test_a_sample_finds_the_few_rows_that_have_curvature():
    rows, theta = problem(20_000, size=6)
    curvature = np.sort(rows._row_curvature())[::-1]
    assert curvature[:2000].sum() > 0.8 * curvature.sum()
    U = rows.class_directions()
    exact, drawn = (rows.diagonal_blocks(U, most).sum(axis=0) for most in (20_000, 2000))
    evenly = np.random.default_rng(0).choice(20_000, 2000, replace=False)
    few = softmax.NumpyRows(rows.X[evenly], rows.codes[evenly], 10 * rows.weights[evenly], 4)
    few.loss_and_gradient(theta)
    plain = few.diagonal_blocks(U, 2000).sum(axis=0)
    assert np.linalg.norm(drawn - exact) < 0.05 * np.linalg.norm(exact)
    assert np.linalg.norm(drawn - exact) < np.linalg.norm(plain - exact)


def test_a_block_of_rows_more_or_less_changes_nothing(monkeypatch):
    rows, theta = problem(500)
    whole = rows.loss_and_gradient(theta)
    monkeypatch.setattr(softmax, "_BLOCK_BYTES", 0)  # 64 rows each
    with softmax.NumpyRows(rows.X, rows.codes, rows.weights, 4) as parts:
        assert len(parts._blocks) == 8
        value, gradient = parts.loss_and_gradient(theta)
        np.testing.assert_allclose(parts.hessian(theta), rows.hessian(theta), rtol=1e-10, atol=1e-10)
    assert value == pytest.approx(whole[0])
    np.testing.assert_allclose(gradient, whole[1], rtol=1e-10, atol=1e-10)
