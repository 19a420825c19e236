"""`LogisticProbe` against scikit-learn's own logistic regression, run to convergence."""

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from scipy.special import softmax as softmax_of
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from featx.methods.probes import LogisticProbe, fit_path, newton, softmax
from featx.methods.probes.catalogue import protocols


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
@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("shape", [(150, 8), (25, 40)])
@pytest.mark.parametrize("kind", ["plain", "imbalanced", "unscaled", "separable"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_the_optimum_is_scikit_learns_or_below(C, k, shape, kind):
    X, y, new = problem(*shape, k, kind)
    theirs = reference(C, X, y)
    bound = objective(theirs, X, y)
    for tol in (protocols._SWEEP, 1e-7):
        model = LogisticProbe(C, tol=tol).fit(X, y)
        reached, near = objective(model, X, y), max(tol, 1e-6)
        assert reached <= bound * (1 + near) + 1e-13
        if bound <= reached * (1 + 1e-6):
            assert (model.predict(new) == theirs.predict(new)).mean() >= 1 - 1e3 * near
        else:
            # Scikit-learn gives up above the minimum; of its predictions then up to 7 % are others.
            assert kind == "unscaled" or (kind == "separable" and C == 1e6)


def excess(model, X, y):
    """At most what the objective is above its minimum over `coef_`, which is strongly convex in it."""
    z = X @ model.coef_.T + model.intercept_
    own = np.arange(len(y)), np.unique(y, return_inverse=True)[1]
    error = softmax_of(z, axis=1)
    error[own] = 0
    error[own] = -error.sum(axis=1)
    gradient = error.T @ X + model.coef_ / model.C
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=1e-6)
    return model.C / 2 * (gradient**2).sum()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_where_scikit_learn_ends_elsewhere_the_gradient_says_who_is_right():
    X, y, _ = problem(150, 8, 3, "unscaled")
    model, theirs = LogisticProbe(1e6).fit(X, y), reference(1e6, X, y)
    reached = objective(model, X, y)
    assert excess(model, X, y) < 1e-9 * reached
    assert objective(theirs, X, y) > 2 * reached


@pytest.mark.parametrize("kind", ["imbalanced", "separable"])
@pytest.mark.parametrize("k", [2, 3])
def test_intercepts_do_not_run_off_together(k, kind):
    X, y, _ = problem(150, 8, k, kind)
    path = newton.NewtonPath(X, y)
    for C in (1.0, 1e3, 1e6):
        path.solve(C)
        assert abs(path._past[-1][1][-1].sum()) < 1e-6


@pytest.fixture
def large(monkeypatch):
    """What is done for large sets, on small ones: no copy, several blocks, a sample for the blocks."""
    monkeypatch.setattr(newton, "_SMALL", 0)
    monkeypatch.setattr(softmax, "_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(newton, "sample_size", lambda n, p: min(n, 4 * p))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["plain", "separable"])
def test_a_path_over_a_large_set_is_at_the_optimum_everywhere(large, kind, dtype):
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


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("kind", ["plain", "separable"])
def test_penalties_solved_together_are_at_the_optimum_everywhere(large, kind, k):
    X, y, _ = problem(700, 12, k, kind, np.float32)
    Cs = np.logspace(-4, 3, 29)
    path = newton.NewtonPath(X, y)
    found = {C: rest for C, *rest in path.solve_path(Cs[::-1], tol=1e-7)}
    assert path.n_passes < 0.7 * path.n_products
    np.testing.assert_array_equal(sorted(found), Cs)
    alone = newton.NewtonPath(X.astype(np.float64), y)
    for C in Cs:
        model = LogisticProbe(C)._take(*found[C][:3], np.float64)
        theirs = LogisticProbe(C)._take(*alone.solve(C, tol=1e-10)[:3], np.float64)
        model.classes_ = theirs.classes_ = path.classes
        assert objective(model, X, y) <= objective(theirs, X, y) * (1 + 1e-6) + 1e-12


def test_penalties_far_apart_and_many_classes_are_solved_one_by_one(large):
    X, y, _ = problem(300, 6, 3)
    for Cs, most in ((np.logspace(-3, 3, 7), 80), (np.logspace(-1, 1, 9), 6)):
        path = newton.NewtonPath(X, y)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(newton, "_COLUMNS", most)
            assert [found[0] for found in path.solve_path(Cs)] == list(Cs)
        assert path.n_passes == path.n_products


def test_rounding_does_not_hide_how_far_the_minimum_is(large):
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    features = rng.normal(size=(3000, 40))
    y = (features[:, :3] / 2 + features[:, -3:] + rng.normal(size=(3000, 3))).argmax(axis=1)
    # What tells the classes apart is in directions of 1e-4 of the longest.
    X = ((features * np.geomspace(1, 1e-4, 40)) @ turned + 3).astype(np.float32)

    def value(found, C):
        coef, intercept = found[:2]
        z = X.astype(np.float64) @ coef.T + intercept
        losses = logsumexp(z, axis=1) - z[np.arange(len(y)), y]
        return losses.sum() + (coef**2).sum() / (2 * C)

    for C in (1e6, 1e8):
        exact = value(newton.NewtonPath(X.astype(np.float64), y).solve(C, tol=1e-12), C)
        assert value(newton.NewtonPath(X, y).solve(C, tol=1e-6), C) == pytest.approx(exact, rel=3e-6)


def test_means_far_from_zero_cost_float32_nothing(large):
    X, y, _ = problem(700, 12, 3, dtype=np.float32)
    shifted = X + np.float32(1000)
    X = (shifted - np.float32(1000)).astype(np.float64)
    model, theirs = LogisticProbe(10.0, tol=1e-7).fit(shifted, y), reference(10.0, X, y)
    model.intercept_ = model.intercept_ + 1000 * model.coef_.astype(np.float64).sum(axis=1)
    assert objective(model, X, y) <= objective(theirs, X, y) * (1 + 1e-5)


def test_means_far_from_zero_need_no_intercept():
    X, y, _ = problem(200, 8, 3)
    X += 1e5
    for C in (1e-2, 1e4):
        # Where directions beside the mean are not preconditioned, hundreds of steps do not get there.
        assert LogisticProbe(C, fit_intercept=False).fit(X, y).n_iter_ < 100


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


def test_path_of_one_thread_and_of_two_are_the_same_numbers(large):
    X, y, _ = problem(700, 12, 3, dtype=np.float32)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(fit_path(X, y, [0.1, 1.0])[1].coef_)
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)
