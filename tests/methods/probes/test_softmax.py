"""Loss, gradient and Hessian of a multinomial logistic regression, against what a textbook writes.

What holds of rows holds of every implementation of them.
"""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import softmax as softmax_of
from sklearn.linear_model import LogisticRegression

from featx.errors import InputError
from featx.methods.probes import LogisticProbe, newton, softmax, torch_rows
from featx.methods.probes.newton import NewtonPath
from featx.methods.probes.softmax import NumpyRows
from featx.methods.probes.torch_rows import TorchRows

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")


@pytest.fixture(
    params=[
        pytest.param(NumpyRows, id="numpy"),
        pytest.param(partial(TorchRows, device="cpu"), id="torch on the processor"),
        pytest.param(partial(TorchRows, device="cuda"), id="torch on a GPU", marks=no_gpu),
    ]
)
def make(request):
    return request.param


ONE = np.arange(1)


class Problem:
    """Rows and parameters, the rows' probabilities already those of the parameters."""

    def __init__(self, make, n=60, p=5, k=4, size=0.5, dtype=np.float64):
        rng = np.random.default_rng(0)
        self.X, self.codes = (rng.normal(size=(n, p)) + 1).astype(dtype), rng.integers(0, k, n)
        self.weights = rng.random(n) + 0.5
        self.theta = size * rng.normal(size=(p + 1, k)) * np.arange(1, k + 1)  # of unequal frequency
        self.V = rng.normal(size=(p + 1, k))
        self.rows = make(self.X, self.codes, self.weights, k)
        self.rows.begin(1)
        self.value, self.gradient = self.evaluate(self.rows)

    def evaluate(self, rows):
        values, gradients = rows.loss_and_gradient(self.theta[None], ONE)
        return values[0], gradients[0]

    def hessian(self):
        return self.rows.hessian(self.V[None], ONE)[0]


def probabilities(problem):
    x = np.hstack([problem.X, np.ones((len(problem.X), 1))])
    return x, softmax_of(x @ problem.theta, axis=1)


def explicit_hessian(problem):
    """With the axes (feature, class, feature, class), the intercept the last feature."""
    x, P = probabilities(problem)
    S = np.einsum("ic,cd->icd", P, np.eye(P.shape[1])) - np.einsum("ic,id->icd", P, P)
    return np.einsum("i,icd,ia,ib->acbd", problem.weights, S, x, x, optimize=True)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_nearly_certain_row_keeps_its_loss_in_single_precision(library):
    z = np.array([[30.0, 0.0, -3.0]], np.float32)
    if library == "numpy":
        loss, error = softmax.loss_and_error(z.T.copy(), np.array([0]))
        error = error.T
    else:
        loss, error = torch_rows.loss_and_error(torch.tensor(z), torch.tensor([[0]]))
    exact = np.exp(-30) + np.exp(-33)
    np.testing.assert_allclose(loss, exact, rtol=1e-5)
    np.testing.assert_allclose(error[0], [-exact, np.exp(-30), np.exp(-33)], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_value_gradient_and_hessian_are_those_of_a_textbook(make, dtype, rtol):
    problem = Problem(make, dtype=dtype)
    x, P = probabilities(problem)
    own = np.arange(60), problem.codes
    assert problem.value == pytest.approx(-problem.weights @ np.log(P[own]), rel=rtol)
    P[own] -= 1
    expected = x.T @ (problem.weights[:, None] * P)
    np.testing.assert_allclose(problem.gradient, expected, rtol=rtol, atol=20 * rtol)
    expected = np.einsum("acbd,bd->ac", explicit_hessian(problem), problem.V)
    np.testing.assert_allclose(problem.hessian(), expected, rtol=rtol, atol=20 * rtol)


def test_the_loss_of_single_precision_rows_can_be_computed_in_double(make):
    problem = Problem(make, dtype=np.float32)
    problem.rows.double = True
    value, gradient = problem.evaluate(problem.rows)
    x, P = probabilities(problem)
    own = np.arange(60), problem.codes
    assert value == pytest.approx(-problem.weights @ np.log(P[own]), rel=1e-12)
    P[own] -= 1
    np.testing.assert_allclose(gradient, x.T @ (problem.weights[:, None] * P), rtol=1e-10, atol=1e-10)


def test_directions_uncouple_the_classes_on_average_and_begin_with_what_they_have_in_common(make):
    problem = Problem(make)
    U = problem.rows.class_directions(ONE)[0]
    np.testing.assert_allclose(U.T @ U, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(np.abs(U[:, 0]), 0.5)
    # The Hessian by the intercepts is sum_i s_i S_i.
    coupled = U.T @ explicit_hessian(problem)[-1, :, -1] @ U
    eigenvalues = np.diag(coupled)
    np.testing.assert_allclose(coupled, np.diag(eigenvalues), atol=1e-12)
    assert eigenvalues[0] == pytest.approx(0, abs=1e-12)
    assert problem.rows.curvature()[0] == pytest.approx(eigenvalues.sum())


@pytest.mark.parametrize("centred", [True, False])
def test_axes_and_sums_along_them_are_those_of_the_weighted_rows(make, centred):
    problem = Problem(make)
    rows, P = problem.rows, probabilities(problem)[1]
    mean, axes = rows.find_axes(60, centred=centred)
    w = problem.weights * (1 - (P**2).sum(axis=1))
    np.testing.assert_allclose(mean, w @ problem.X / w.sum() if centred else 0, atol=1e-12)
    scatter = axes.T @ ((problem.X - mean).T * w) @ (problem.X - mean) @ axes
    np.testing.assert_allclose(scatter, np.diag(np.diag(scatter)), atol=1e-9)
    U, t = rows.class_directions(ONE), (problem.X - mean) @ axes
    S = np.einsum("ic,cd->icd", P, np.eye(4)) - np.einsum("ic,id->icd", P, P)
    w = np.einsum("i,cu,icd,du->ui", problem.weights, U[0], S, U[0])
    for found, expected in zip(rows.sum_along_axes(U, ONE), (w.sum(axis=1), w @ t, w @ t**2), strict=True):
        np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-10)


def test_problems_together_are_as_each_alone(make):
    problems = [Problem(make, 200, size=size) for size in (0.1, 0.5, 1.0)]
    rows, which = problems[0].rows, np.array([2, 0])
    rows.begin(3)
    rows.loss_and_gradient(np.stack([one.theta for one in problems]), np.arange(3))
    values, gradients = rows.loss_and_gradient(np.stack([problems[i].theta for i in which]), which)
    products = rows.hessian(np.stack([problems[i].V for i in which]), which)
    directions = rows.class_directions(which)
    for i, value, gradient, product, U in zip(which, values, gradients, products, directions, strict=True):
        alone = problems[i]
        assert value == pytest.approx(alone.value)
        assert rows.curvature()[i] == pytest.approx(alone.rows.curvature()[0])
        np.testing.assert_allclose(gradient, alone.gradient, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(product, alone.hessian(), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(np.abs(U), np.abs(alone.rows.class_directions(ONE)[0]), atol=1e-8)
    rows.find_axes(200, centred=True)
    both = rows.sum_along_axes(directions, which)
    for j, i in enumerate(which):
        for together, alone in zip(both, rows.sum_along_axes(directions[j : j + 1], [i]), strict=True):
            np.testing.assert_allclose(together[j], alone[0], rtol=1e-10, atol=1e-10)


def test_a_sample_finds_the_few_rows_that_have_curvature():
    curvature = np.random.default_rng(0).random(20_000) ** 20
    numbers = np.random.default_rng(1).normal(size=20_000) + 1
    exact = curvature @ numbers
    drawn, share = softmax.draw(curvature, 2000)
    evenly = np.random.default_rng(0).choice(20_000, 2000, replace=False)
    error = abs((curvature[drawn] * share) @ numbers[drawn] - exact)
    assert error < 0.05 * exact
    assert error < abs(10 * curvature[evenly] @ numbers[evenly] - exact)


def test_rows_in_parts_give_the_same_numbers(monkeypatch, make):
    whole = Problem(make, 500)
    monkeypatch.setattr(softmax, "_BLOCK_BYTES", 0)  # 64 rows each
    monkeypatch.setattr(torch_rows, "_PART", 64)
    parts = Problem(make, 500)
    with parts.rows:
        value, gradient = parts.evaluate(parts.rows)
        product = parts.hessian()
    assert value == pytest.approx(whole.value)
    np.testing.assert_allclose(gradient, whole.gradient, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(product, whole.hessian(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_solver_ends_at_the_same_optimum_over_any_rows(monkeypatch, make, dtype):
    for name, value in (("_SMALL", 0), ("NumpyRows", make)):
        monkeypatch.setattr(newton, name, value)
    monkeypatch.setattr(newton, "sample_size", lambda n, p: min(n, 200))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    X = (rng.normal(size=(600, 8)) + 1 + 2 * rng.normal(size=(3, 8))[y]).astype(dtype)
    path = NewtonPath(X, y)
    for C in (0.01, 10.0):
        coef, intercept, _, converged = path.solve(C, tol=1e-9)
        theirs = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(X.astype(np.float64), y)
        assert converged
        np.testing.assert_allclose(coef, theirs.coef_, atol=1e-3 * np.abs(theirs.coef_).max())
        np.testing.assert_allclose(intercept, theirs.intercept_, atol=1e-3 * np.abs(coef).max())


def test_a_device_is_taken_where_it_is_and_only_for_what_is_large(monkeypatch):
    X, y = np.eye(4), np.arange(4) % 2
    asked = []
    monkeypatch.setattr(newton, "_rows", lambda *given: asked.append(given[-1]) or NumpyRows(*given[:-1]))
    for small, gpu in ((100, True), (0, True), (0, False)):
        monkeypatch.setattr(newton, "_SMALL", small)
        monkeypatch.setattr(newton, "sees_gpu", lambda gpu=gpu: gpu)
        LogisticProbe(device="auto").fit(X, y)
    assert asked == ["cpu", "cuda", "cpu"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA GPU")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(InputError, match="'cuda' needs a GPU"):
        LogisticProbe(device="cuda").fit(np.eye(4), [0, 1, 0, 1])
