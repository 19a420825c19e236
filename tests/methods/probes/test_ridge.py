"""Closed-form cross-validation of ridge regression against fitting again and again."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from featx.methods.probes.ridge import LeastSquaresProbe, RidgePath


@pytest.fixture(params=[(30, 5), (12, 20)], ids=["tall", "wide"])
def data(request):
    rng = np.random.default_rng(0)
    n, p = request.param
    y = np.arange(n) % 3
    return rng.normal(size=(n, p)) + y[:, None] + 5, y, 2 * np.eye(3)[y] - 1


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e3])
def test_coefficients_are_scikit_learns(data, alpha):
    X, _, Y = data
    coef, intercept = RidgePath(X, Y).coefficients(alpha)
    model = Ridge(alpha=alpha).fit(X, Y)
    np.testing.assert_allclose(coef, model.coef_, atol=1e-8)
    np.testing.assert_allclose(intercept, model.intercept_, atol=1e-8)


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e3])
def test_what_is_left_out_is_predicted_as_by_fitting_again(data, alpha):
    X, _, Y = data
    path, n = RidgePath(X, Y), len(X)
    folds = np.array_split(np.random.default_rng(1).permutation(n), 4)
    for found, parts in (
        (path.leave_one_out(alpha), [np.array([i]) for i in range(n)]),
        (path.leave_fold_out(alpha, folds), folds),
    ):
        for held in parts:
            rest = np.setdiff1d(np.arange(n), held)
            expected = Ridge(alpha=alpha).fit(X[rest], Y[rest]).predict(X[held])
            np.testing.assert_allclose(found[held], expected, atol=1e-7)


def test_the_penalty_is_the_best_by_leave_one_out(data):
    X, y, Y = data
    alphas = [0.1, 10.0, 1e4]
    slow = {}
    for alpha in alphas:
        left_out = np.stack(
            [
                Ridge(alpha=alpha).fit(np.delete(X, i, 0), np.delete(Y, i, 0)).predict(X[i : i + 1])[0]
                for i in range(len(X))
            ]
        )
        slow[alpha] = ((left_out.argmax(axis=1) == y).mean(), -((left_out - Y) ** 2).mean())
    model = LeastSquaresProbe(alphas).fit(X, y)
    assert model.alpha_ == max(alphas, key=slow.get)
    assert model.loo_score_ == pytest.approx(slow[model.alpha_][0])
