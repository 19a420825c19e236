"""`LogisticProbe` against scikit-learn's own logistic regression, run to convergence."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from featx.classifiers import LogisticProbe, fit_path, newton, softmax


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
    assert (model.predict(new) == theirs.predict(new)).mean() >= (0.97 if kind == "unscaled" else 0.995)


@pytest.fixture
def large(monkeypatch):
    """What is done for large sets, on small ones: no copy, several blocks, a sample for the blocks."""
    monkeypatch.setattr(newton, "_SMALL", 0)
    monkeypatch.setattr(softmax, "_BLOCK_BYTES", 20_000)
    for module in (newton, softmax):
        monkeypatch.setattr(module, "sample_size", lambda n, p: min(n, 4 * p))


@pytest.mark.parametrize("own", [True, False], ids=["a block for each class", "one for all"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["plain", "separable"])
def test_a_path_over_a_large_set_is_at_the_optimum_everywhere(large, monkeypatch, kind, dtype, own):
    monkeypatch.setattr(softmax, "_OWN_BLOCKS", 1e9 if own else 0)
    X, y, new = problem(700, 12, 3, kind, dtype)
    before = X.copy()
    weights = np.random.default_rng(1).random(700) + 0.5
    Cs = [1e6, 1e-5, 1e-3, 1e-1, 10.0, 1e3]
    for C, model in zip(Cs, fit_path(X, y, Cs, sample_weight=weights), strict=True):
        theirs = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=2000)
        theirs.fit(X.astype(np.float64), y, sample_weight=weights)
        assert objective(model, X, y, weights) <= objective(theirs, X, y, weights) * (1 + 1e-6) + 1e-12
        assert (model.predict(new) == theirs.predict(new)).mean() >= 0.999
        assert model.C == C
        assert model.coef_.dtype == dtype
    np.testing.assert_array_equal(X, before)


def test_means_far_from_zero_cost_float32_nothing(large):
    X, y, _ = problem(700, 12, 3, dtype=np.float32)
    shifted = X + np.float32(1000)
    X = (shifted - np.float32(1000)).astype(np.float64)
    model, theirs = LogisticProbe(10.0, tol=1e-7).fit(shifted, y), reference(10.0, X, y)
    model.intercept_ = model.intercept_ + 1000 * model.coef_.astype(np.float64).sum(axis=1)
    assert objective(model, X, y) <= objective(theirs, X, y) * (1 + 1e-5)


@pytest.mark.parametrize("k", [2, 4])
def test_weights_and_a_fixed_intercept_are_as_in_scikit_learn(k):
    X, y, _ = problem(120, 6, k, "imbalanced")
    weights = np.random.default_rng(0).random(120)
    options = {"class_weight": "balanced", "fit_intercept": False}
    model = LogisticProbe(2.0, **options).fit(X, y, weights)
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=5000, **options).fit(X, y, weights)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_array_equal(model.intercept_, 0)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("shape", [(120, 6), (20, 40)])
def test_a_warm_start_from_the_solution_stays_there(k, shape):
    X, y, _ = problem(*shape, k)
    cold = LogisticProbe(0.5, warm_start=True).fit(X, y)
    coef, intercept, steps = cold.coef_.copy(), cold.intercept_.copy(), cold.n_iter_[0]
    warm = cold.fit(X, y)
    assert warm.n_iter_[0] < steps
    np.testing.assert_allclose(warm.coef_, coef, atol=1e-6)
    np.testing.assert_allclose(warm.intercept_, intercept, atol=1e-6)


def test_too_few_steps_are_told():
    X, y, _ = problem(60, 5, 3)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        LogisticProbe(1e3, max_iter=1).fit(X, y)


@pytest.mark.parametrize("name", ["C", "tol", "max_iter"])
def test_settings_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0, got 0"):
        LogisticProbe(**{name: 0}).fit(np.eye(2), [0, 1])


def test_a_nearly_certain_row_keeps_its_loss_in_single_precision():
    z = np.array([[30.0], [0.0], [-3.0]], np.float32)
    loss, error = softmax._loss_and_error(z.copy(), np.array([0]))
    exact = np.exp(-30) + np.exp(-33)
    np.testing.assert_allclose(loss, exact, rtol=1e-5)
    np.testing.assert_allclose(error[:, 0], [-exact, np.exp(-30), np.exp(-33)], rtol=1e-5)


def test_the_hessian_is_the_change_of_the_gradient():
    X, y, _ = problem(50, 5, 3)
    rows = softmax.NumpyRows(X, np.unique(y, return_inverse=True)[1], np.linspace(0.5, 2, 50), 3)
    theta, V = np.random.default_rng(0).normal(size=(2, 6, 3)) * 0.1
    ahead, behind = (rows.loss_and_gradient(theta + s * 1e-5 * V)[1] for s in (1, -1))
    rows.loss_and_gradient(theta)
    np.testing.assert_allclose(rows.hessian(V), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


def test_path_of_one_thread_and_of_two_are_the_same_numbers(large):
    X, y, _ = problem(700, 12, 3, dtype=np.float32)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(fit_path(X, y, [0.1, 1.0])[1].coef_)
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)
