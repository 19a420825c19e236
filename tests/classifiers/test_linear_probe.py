"""`LogisticProbe` against scikit-learn's own logistic regression, run to convergence."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.classifiers import linear_probe, newton, softmax
from featx.classifiers.linear_probe import LogisticProbe, fit_path


@parametrize_with_checks([LogisticProbe()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def problem(n, p, k, kind="plain", dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, 3 * n)
    if kind == "imbalanced":
        y[rng.random(3 * n) < 0.8] = 0
        y[:k] = np.arange(k)
    X = rng.normal(size=(3 * n, p)) @ (rng.normal(size=(p, p)) * np.geomspace(1, 0.05, p)) + 1
    X += rng.normal(size=(k, p))[y] * (20 if kind == "separable" else 1)
    if kind == "unscaled":
        X = X * np.geomspace(1e-3, 1e3, p) + np.geomspace(1, 1e4, p)
    return X[:n].astype(dtype), y[:n] * 2 + 1, X[n:].astype(dtype)


def objective(model, X, y, weights=1.0):
    """In float64, and written as in a textbook."""
    z = X.astype(np.float64) @ model.coef_.T.astype(np.float64) + model.intercept_
    if z.shape[1] == 1:
        z = np.hstack([np.zeros_like(z), z])
    codes = np.unique(y, return_inverse=True)[1]
    loss = -log_softmax(z, axis=1)[np.arange(len(y)), codes]
    return (weights * loss).sum() + (model.coef_.astype(np.float64) ** 2).sum() / (2 * model.C)


def reference(C, X, y, **options):
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=2000, **options)
    return model.fit(X.astype(np.float64), y)


@pytest.mark.parametrize("C", [1e-5, 1e-2, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("shape", [(150, 8), (25, 40)])
@pytest.mark.parametrize("kind", ["plain", "imbalanced", "unscaled", "separable"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_the_optimum_is_scikit_learns_or_below(C, k, shape, kind):
    X, y, new = problem(*shape, k, kind)
    model, theirs = LogisticProbe(C).fit(X, y), reference(C, X, y)
    assert objective(model, X, y) <= objective(theirs, X, y) * (1 + 1e-6) + 1e-12
    assert (model.predict(new) == theirs.predict(new)).mean() >= (0.999 if shape[0] > shape[1] else 0.98)
