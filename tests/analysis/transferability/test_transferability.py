"""Each score beside a slow, obvious reference, the published formulas, and cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf

from featx.analysis.transferability import Spectrum, h_score, h_score_shrunk, leep, logme, nce, transrate
from featx.errors import InputError


def material(n, d, k=3, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    F = rng.normal(size=(n, d)) + signal * rng.normal(size=(k, d))[y] + 0.5
    return F, y


SHAPES = [(60, 7), (30, 45), (40, 40)]


def largest_evidence(F, t):
    """The evidence of definition, whole d x d matrices and all, maximised by a general optimiser."""
    n, d = F.shape

    def negative(logs):
        alpha, beta = np.exp(logs)
        A = alpha * np.eye(d) + beta * F.T @ F
        m = beta * np.linalg.solve(A, F.T @ t)
        return -(
            d / 2 * np.log(alpha)
            + n / 2 * np.log(beta)
            - beta / 2 * ((F @ m - t) ** 2).sum()
            - alpha / 2 * (m @ m)
            - np.linalg.slogdet(A)[1] / 2
            - n / 2 * np.log(2 * np.pi)
        )

    starts = [(0.0, 0.0), (2.0, 3.0), (5.0, 2.0)]
    options = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000}
    return max(-minimize(negative, s, method="Nelder-Mead", options=options).fun for s in starts) / n


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_logme_is_the_largest_evidence(n, d):
    F, y = material(n, d)
    expected = np.mean([largest_evidence(F, (y == c).astype(float)) for c in range(3)])
    assert logme(F, y) == pytest.approx(expected, abs=1e-6)


def test_logme_of_numbers():
    F, _ = material(50, 6)
    t = F @ np.arange(6.0) + np.random.default_rng(1).normal(size=50)
    assert logme(F, t, numbers=True) == pytest.approx(largest_evidence(F, t), abs=1e-6)
    other = np.random.default_rng(2).normal(size=50)
    both = (logme(F, t, numbers=True) + logme(F, other, numbers=True)) / 2
    assert logme(F, np.column_stack([t, other]), numbers=True) == pytest.approx(both, abs=1e-9)


def test_logme_as_published():
    """The loop of the authors' code, whose early stop moves the stationary evidence by very little."""
    F, y = material(80, 5)
    squares, V = np.linalg.eigh(F.T @ F)
    evidences = []
    for c in range(3):
        t = (y == c).astype(float)
        alpha = beta = lam = 1.0
        for _ in range(11):
            gamma = (squares / (squares + lam)).sum()
            m = V @ (V.T @ F.T @ t * beta / (alpha + beta * squares))
            alpha, residual = gamma / (m @ m), ((t - F @ m) ** 2).sum()
            beta = (80 - gamma) / residual
            if abs(alpha / beta - lam) / lam < 0.01:
                break
            lam = alpha / beta
        L = 2.5 * np.log(alpha) + 40 * np.log(beta) - 0.5 * np.log(alpha + beta * squares).sum()
        evidences.append((L - beta / 2 * residual - alpha / 2 * (m @ m) - 40 * np.log(2 * np.pi)) / 80)
    assert logme(F, y) == pytest.approx(np.mean(evidences), abs=1e-4)


def test_logme_where_nothing_or_all_is_explained():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    assert logme(rng.normal(size=(400, 4)), y) < logme(np.column_stack([y, 1 - y]) + 0.0, y)
    assert np.isfinite(logme(np.eye(2)[y], y))


def class_means(F, y):
    return np.stack([F[y == label].mean(axis=0) for label in y])


def test_h_score_is_the_trace_of_its_definition():
    F, y = material(60, 7)
    expected = np.trace(np.linalg.inv(np.cov(F, rowvar=False)) @ np.cov(class_means(F, y), rowvar=False))
    assert h_score(F, y) == pytest.approx(expected, abs=1e-9)
    # A direction that does not vary takes no part.
    assert h_score(np.column_stack([F, np.ones(60)]), y) == pytest.approx(expected, abs=1e-6)


def test_h_score_is_at_most_one_a_class_less_one():
    F, y = material(300, 5, k=4, signal=1000.0)
    assert h_score(F, y) == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_shrunk_h_score_is_that_of_ledoit_and_wolf(n, d):
    F, y = material(n, d)
    fitted = LedoitWolf().fit(F)
    G = class_means(F, y)
    # The published code divides the second covariance by n - 1.
    published = np.trace(
        np.linalg.inv(fitted.covariance_) @ ((1 - fitted.shrinkage_) * np.cov(G, rowvar=False))
    )
    assert h_score_shrunk(F, y) == pytest.approx(published * (n - 1) / n, abs=1e-9)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_transrate_is_a_difference_of_coding_rates(n, d):
    F, y = material(n, d)
    F, y = F[:-4], y[:-4]

    def rate(Z):
        return 0.5 * np.linalg.slogdet(np.eye(d) + Z.T @ Z / (len(Z) * 1e-4))[1]

    Z = F - F.mean(axis=0)
    expected = rate(Z) - sum((y == c).mean() * rate(Z[y == c]) for c in range(3))
    assert transrate(F, y) == pytest.approx(expected, abs=1e-6)


def test_transrate_as_published_weighs_equal_classes_alike():
    F, y = material(60, 7)
    Z = F - F.mean(axis=0)
    rates = [np.linalg.slogdet(np.eye(7) + Z[y == c].T @ Z[y == c] / (20 * 1e-2))[1] / 2 for c in range(3)]
    whole = np.linalg.slogdet(np.eye(7) + Z.T @ Z / (60 * 1e-2))[1] / 2
    assert transrate(F, y, eps=1e-2) == pytest.approx(whole - np.mean(rates), abs=1e-9)


@pytest.mark.parametrize("score", [logme, h_score, h_score_shrunk, transrate])
def test_one_decomposition_serves_all_and_blocks_change_nothing(score, monkeypatch):
    F, y = material(60, 7)
    alone = score(F, y)
    monkeypatch.setattr("featx.analysis.transferability.embeddings._BLOCK", 13)
    assert score(F, y, spectrum=Spectrum.of(F, y)) == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize("score", [logme, h_score_shrunk, transrate, h_score])
def test_labels_that_mean_something_score_higher(score):
    F, y = material(200, 10)
    assert score(F, y) > score(F, np.random.default_rng(0).permutation(y))
    assert score(F, y * 5 + 2) == pytest.approx(score(F, y))  # names of classes mean nothing


def slow_leep(P, y):
    n, k = P.shape
    total = 0.0
    for i in range(n):
        inner = 0.0
        for z in range(k):
            joint = sum(P[j, z] for j in range(n) if y[j] == y[i])
            inner += joint / sum(P[j, z] for j in range(n)) * P[i, z]
        total += np.log(inner)
    return total / n


def slow_nce(z, y):
    n, total = len(z), 0.0
    for i in range(n):
        same = [j for j in range(n) if z[j] == z[i]]
        total += np.log(sum(y[j] == y[i] for j in same) / len(same))
    return total / n


def test_leep_and_nce_against_loops():
    rng = np.random.default_rng(3)
    P = rng.dirichlet(np.ones(6), 40)
    y = rng.integers(0, 3, 40)
    assert leep(P, y) == pytest.approx(slow_leep(P, y), abs=1e-12)
    assert nce(P, y) == pytest.approx(slow_nce(P.argmax(1), y), abs=1e-12)
    assert nce(P, y) == nce(P.argmax(1), y)


def test_leep_and_nce_of_known_answer():
    y = np.array([0, 0, 1, 1])
    assert leep(np.eye(2)[y], y) == 0  # the source model knows it all
    assert nce(y, y) == 0
    flat = np.column_stack([np.full((4, 2), 0.5), np.zeros(4)])  # it knows nothing; one class never occurs
    assert leep(flat, y) == pytest.approx(np.log(0.5))
    assert nce(np.zeros(4, int), y) == pytest.approx(np.log(0.5))


@pytest.mark.parametrize("score", [logme, h_score, h_score_shrunk, transrate])
def test_embeddings_that_cannot_be_scored(score):
    F, y = material(10, 3)
    with pytest.raises(InputError, match="expected 10 integers"):
        score(F, y[:-1])
    with pytest.raises(InputError, match="at least 2 classes"):
        score(F, y * 0)
    F[4, 1] = np.nan
    with pytest.raises(InputError, match="row 4 has values that are not finite"):
        score(F, y)
    with pytest.raises(InputError, match=r"shape \(n, d\)"):
        score(F[0], y)


def test_other_refusals():
    F, y = material(10, 3)
    with pytest.raises(InputError, match="eps"):
        transrate(F, y, eps=0)
    with pytest.raises(InputError, match="all rows are alike"):
        h_score_shrunk(np.ones((6, 2)), np.arange(6) % 2)
    with pytest.raises(InputError, match="column 1 is all zeros"):
        logme(F, np.column_stack([y + 1.0, 0.0 * y]), numbers=True)
    with pytest.raises(InputError, match="targets"):
        logme(F, y[:-1], numbers=True)
    with pytest.raises(InputError, match=r"row \d sums to"):
        leep(F, y)
    with pytest.raises(InputError, match=r"shape \(n, k_source\)"):
        leep(y, y)
    with pytest.raises(InputError, match="expected 10 integers"):
        leep(np.full((10, 2), 0.5), F[:, 0])
    with pytest.raises(InputError, match="source"):
        nce(F[:, 0], y)
