"""Machines that descend side by side, against LinearSVC for each."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from featx.methods.probes import squared_hinges
from featx.methods.probes.squared_hinges import sign_classes, solve_hinges
from tests.methods.probes.conftest import clusters


def with_ones(X):
    return np.hstack([X, np.ones((len(X), 1), X.dtype)])


def solve(X, y, machines, **options):
    """Solve LinearSVCs of the same rows; return a solution with coefficients (n_svms, n_columns, p + 1)."""
    signed = [sign_classes(y, y.max() + 1, svm.class_weight) for svm in machines]
    C = np.repeat([svm.C for svm in machines], len(signed[0]))
    basis = np.eye(X.shape[1] + 1, dtype=X.dtype)
    found = solve_hinges(with_ones(X), basis, np.concatenate(signed), C, **options)
    return found, found.coef.reshape(len(machines), len(signed[0]), -1)


@pytest.mark.parametrize("counts", [(60, 40, 20), (50, 25), (1, 1)])
@pytest.mark.parametrize("at_once", [1, 10**6], ids=["in turn", "together"])
def test_each_machine_is_the_one_of_scikit_learn(counts, at_once, monkeypatch):
    monkeypatch.setattr(squared_hinges, "_MOST_SCORES", at_once)
    X, y = clusters(counts, dim=8)
    machines = [LinearSVC(C=C, class_weight=w, tol=1e-8) for C in (0.01, 1, 100) for w in (None, "balanced")]
    found, coef = solve(X.astype(np.float64), y, machines, tol=1e-12)
    assert found.converged
    for machine, w in zip(machines, coef, strict=True):
        machine.fit(X, y)
        np.testing.assert_allclose(w[:, :-1], machine.coef_, atol=2e-4)
        np.testing.assert_allclose(w[:, -1], machine.intercept_, atol=2e-4)


def test_coefficients_are_those_of_the_products_with_the_basis():
    X, y = clusters((40, 30, 20), dim=8)
    basis = np.random.default_rng(1).normal(size=(9, 5))
    basis[-1], basis[:-1, -1] = np.eye(5)[-1], 0
    signed = sign_classes(y, 3)
    found = solve_hinges(with_ones(X.astype(np.float64)), basis, signed, np.ones(3), tol=1e-12)
    known = LinearSVC(tol=1e-8).fit(X @ basis[:-1, :-1], y)
    np.testing.assert_allclose(found.coef[:, :-1], known.coef_, atol=2e-4)


def test_too_few_iterations_are_told():
    X, y = clusters((40, 30, 20), dim=8)
    found, _ = solve(X, y, [LinearSVC()], tol=1e-9, max_iter=2)
    assert (found.converged, found.n_iter) == (False, 2)
