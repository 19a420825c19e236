"""Least squares in closed form, few rows and many."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from featx.errors import InputError
from featx.methods.probes.ridge import LeastSquaresProbe


@pytest.mark.parametrize(("n", "p"), [(30, 5), (12, 20)], ids=["tall", "wide"])
@pytest.mark.parametrize("k", [2, 3])
def test_scores_are_those_of_ridge_regression_with_a_constant_feature(n, p, k):
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    X = rng.normal(size=(n, p)) + y[:, None] + 5
    scaled = np.hstack([StandardScaler().fit_transform(X), np.full((n, 1), 100.0)])
    ridge = Ridge(alpha=10.0, fit_intercept=False).fit(scaled, 2 * np.eye(k)[y] - 1)
    expected = ridge.predict(scaled)
    found = LeastSquaresProbe(10.0).fit(X, y).decision_function(X)
    np.testing.assert_allclose(found, expected if k > 2 else expected[:, 1], atol=1e-3)


def test_a_penalty_must_be_above_0():
    with pytest.raises(InputError, match="alpha must be above 0, got 0"):
        LeastSquaresProbe(0).fit(np.eye(4), [0, 1, 0, 1])
