"""The preconditioned solver against scikit-learn's own, run to convergence."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from featx.methods.probes.lbfgs import LbfgsPath


def problem(n, p, k, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    # Correlated columns of unequal scale, not centred: what makes plain L-BFGS slow.
    X = rng.normal(size=(n, p)) @ (rng.normal(size=(p, p)) * np.geomspace(1, 0.05, p)) + 1
    X[:, 0] += y
    return X.astype(np.float32), y * 3


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("shape", [(80, 10), (30, 50)])
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("weighting", [None, "balanced"])
def test_the_solution_is_scikit_learns(k, shape, C, weighting):
    X, y = problem(*shape, k)
    y[y == 0] = np.where(np.arange((y == 0).sum()) % 3, 3, 0)  # imbalance
    reference = LogisticRegression(C=C, class_weight=weighting, tol=1e-9, solver="newton-cholesky")
    reference.fit(X.astype(np.float64), y)
    path = LbfgsPath(X, y)
    weights = compute_sample_weight(weighting, y)
    path.solve(C / 10, sample_weight=weights)
    coef, intercept = path.solve(C, sample_weight=weights, tol=1e-7)
    scale = np.abs(reference.coef_).max()
    np.testing.assert_allclose(coef, reference.coef_, atol=0.01 * scale)
    np.testing.assert_allclose(
        X @ coef.T + intercept, X @ reference.coef_.T + reference.intercept_, atol=0.02, rtol=0.01
    )
    np.testing.assert_array_equal(path.classes, np.unique(y))


def test_identical_rows_and_constant_columns_do_no_harm():
    X = np.ones((6, 3), np.float32)
    X[3:, 0] = 2
    coef, intercept = LbfgsPath(X, np.array([0, 0, 0, 1, 1, 1])).solve(1.0)
    assert np.isfinite(coef).all()
    assert ((X @ coef.T + intercept > 0).ravel() == [0, 0, 0, 1, 1, 1]).all()


def test_rows_that_are_all_alike_give_the_shares_of_the_classes():
    coef, intercept = LbfgsPath(np.ones((4, 3), np.float32), np.array([0, 0, 0, 1])).solve(1.0, tol=1e-8)
    np.testing.assert_array_equal(coef, 0)
    assert intercept[0] == pytest.approx(np.log(1 / 3), abs=1e-3)


def test_it_needs_far_fewer_steps_than_scikit_learn_on_correlated_features():
    X, y = problem(200, 30, 4)
    path = LbfgsPath(X, y)
    coef, _ = path.solve(1.0)
    plain = LogisticRegression(C=1.0, max_iter=10_000).fit(X, y)
    assert path.evaluations < plain.n_iter_[0]
    assert coef.shape == (4, 30)
