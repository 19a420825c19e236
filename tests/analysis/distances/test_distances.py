"""Distances between sets of rows: closed forms, slow references, and how often chance alone alarms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist

from featx.analysis.distances import (
    coral_distance,
    density_divergence,
    domain_classifier,
    frechet_distance,
    histogram_divergence,
    jensen_shannon,
    mmd,
    mmd_test,
    profile_divergence,
    proxy_a_distance,
    shared_basis,
)
from featx.errors import InputError


def sets(n=40, m=30, d=5, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) @ mix + shift


def with_moments(mean, covariance, n=200, seed=0):
    """Rows whose sample mean and covariance are exactly these."""
    Z = np.random.default_rng(seed).normal(size=(n, len(mean)))
    Z -= Z.mean(axis=0)
    Z = Z @ np.linalg.inv(np.linalg.cholesky(np.cov(Z, rowvar=False)).T)
    return Z @ np.linalg.cholesky(covariance).T + mean


def test_frechet_between_gaussians_of_known_moments():
    X = with_moments([0.0, 0.0], np.diag([4.0, 9.0]))
    Y = with_moments([3.0, 4.0], np.diag([1.0, 16.0]), n=150, seed=1)
    # Diagonal covariances: |m|^2 and the squared differences of the standard deviations.
    assert frechet_distance(X, Y) == pytest.approx(25 + 1 + 1, abs=1e-9)
    assert frechet_distance(X, X) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(40, 30), (6, 40), (7, 6)])
def test_frechet_against_the_matrix_square_root(n, m):
    X, Y = sets(n, m, d=6)
    S, T = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    # The square root of a singular product is not to be had exactly: the symmetric form is.
    half = sqrtm(S + 0j).real
    expected = ((X.mean(0) - Y.mean(0)) ** 2).sum() + np.trace(S + T - 2 * sqrtm(half @ T @ half + 0j).real)
    tolerance = 1e-6 if n > 6 < m else 1e-4
    assert frechet_distance(X, Y) == pytest.approx(expected, abs=tolerance)
    assert frechet_distance(Y, X) == pytest.approx(frechet_distance(X, Y), abs=1e-9)


def test_shrinkage_takes_away_much_of_what_few_rows_add():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 60)), rng.normal(size=(30, 60))
    assert frechet_distance(X, Y, shrinkage=True) < 0.5 * frechet_distance(X, Y)


def test_coral_of_known_covariances():
    X = with_moments([0.0, 5.0], np.diag([1.0, 2.0]))
    Y = with_moments([0.0, 0.0], np.diag([3.0, 5.0]))
    assert coral_distance(X, Y) == pytest.approx((4 + 9) / 16, abs=1e-9)


def slow_mmd(X, Y, s):
    def mean(A, B, same):
        values = [
            np.exp(-((a - b) ** 2).sum() / (2 * s * s))
            for i, a in enumerate(A)
            for j, b in enumerate(B)
            if not (same and i == j)
        ]
        return np.mean(values)

    return mean(X, X, True) + mean(Y, Y, True) - 2 * mean(X, Y, False)


def test_mmd_against_loops_over_pairs():
    X, Y = sets(12, 9)
    median = np.median(pdist(np.concatenate([X, Y])))
    assert mmd(X, Y) == pytest.approx(slow_mmd(X, Y, median), abs=1e-9)
    mixed = (slow_mmd(X, Y, 0.5) + slow_mmd(X, Y, 2.0)) / 2
    assert mmd(X, Y, bandwidths=[0.5, 2.0]) == pytest.approx(mixed, abs=1e-9)
    assert cdist(X, Y).max() > median  # so that the median is of the union, and not the whole story


def test_the_p_value_is_the_share_of_divisions_that_are_as_uneven():
    X, Y = sets(7, 6, d=2, shift=0.4)
    tested = mmd_test(X, Y, n_permutations=400, seed=3)
    union, rng = np.concatenate([X, Y]), np.random.default_rng(8)
    values = []
    for _ in range(400):
        order = rng.permutation(13)
        values.append(slow_mmd(union[order[:7]], union[order[7:]], tested.bandwidths[0]))
    assert tested.value == pytest.approx(mmd(X, Y))
    assert tested.p_value == pytest.approx(np.mean(np.array(values) >= tested.value), abs=0.1)
    assert mmd_test(X, Y, n_permutations=400, seed=3) == tested


def test_chance_alone_is_significant_as_often_as_promised():
    rng = np.random.default_rng(0)
    p = [
        mmd_test(rng.normal(size=(20, 4)), rng.normal(size=(14, 4)), n_permutations=99, seed=i).p_value
        for i in range(400)
    ]
    # 400 trials at 5 %: 20 expected, standard deviation 4.4.
    assert 7 <= sum(value <= 0.05 for value in p) <= 35
    assert 0.45 < np.mean(p) < 0.55


def test_a_shift_is_found_with_one_kernel_and_with_a_mixture():
    X, Y = sets(60, 50, shift=2.0)
    assert mmd_test(X, Y, n_permutations=199).p_value == 1 / 200
    mixed = mmd_test(X, Y, mixture=True, n_permutations=199)
    assert mixed.p_value == 1 / 200
    assert len(mixed.bandwidths) == 5
    assert mixed.bandwidths[2] == mmd_test(X, Y, n_permutations=1).bandwidths[0]


def test_rows_that_are_all_alike_are_no_difference():
    same = np.ones((6, 3))
    assert mmd_test(same, same, n_permutations=20).p_value == 1


def test_jensen_shannon_in_bits():
    assert jensen_shannon([1, 0, 0], [0, 2, 2]) == 1
    assert jensen_shannon([1, 2, 3], [2, 4, 6]) == 0
    # By hand: p = (1, 0), q = (1/2, 1/2), middle (3/4, 1/4).
    by_hand = 0.5 * np.log2(4 / 3) + 0.5 * (0.5 * np.log2(2 / 3) + 0.5 * np.log2(2))
    assert jensen_shannon([1, 0], [0.5, 0.5]) == pytest.approx(by_hand, abs=1e-12)
    P, Q = np.eye(3)[[0, 0, 1]], np.eye(3)[[2, 2]]
    assert profile_divergence(P, Q) == 1


@pytest.mark.parametrize(("n", "m", "d"), [(30, 20, 4), (10, 8, 40)])
def test_the_shared_basis_is_that_of_the_union(n, m, d):
    X, Y = sets(n, m, d)
    a, b = shared_basis(X, Y, 3)
    union = np.concatenate([X, Y])
    U, s, _ = np.linalg.svd(union - union.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(np.concatenate([a, b])), np.abs(U[:, :3] * s[:3]), atol=1e-8)


def test_histograms_and_densities_tell_near_from_far():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 600, 3))
    for divergence, chance in ((histogram_divergence, 0.05), (density_divergence, 0.03)):
        assert divergence(X, X) == pytest.approx(0, abs=1e-12)
        assert divergence(X, Y) < chance
        assert divergence(X, Y + np.array([1.0, 0, 0])) > 2 * divergence(X, Y)
    assert density_divergence(X, Y + 40) > 0.99
    assert histogram_divergence(X, Y + 40, n_components=1) == 1


def test_two_gaussians_have_the_divergence_that_integration_gives():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(4000, 2)) * [3, 1], rng.normal(size=(4000, 2)) * [3, 1] + [3, 0]
    x = np.linspace(-20, 20, 4001)
    exact = jensen_shannon(np.exp(-(x**2) / 18), np.exp(-((x - 3) ** 2) / 18))
    assert density_divergence(X, Y) == pytest.approx(exact, abs=0.03)
    assert histogram_divergence(X, Y, n_components=1, bins=40) == pytest.approx(exact, abs=0.03)


def test_the_domain_classifier_guesses_where_there_is_nothing_to_see():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(200, 6)), rng.normal(size=(100, 6))
    found = domain_classifier(X, Y)
    assert 0.4 < found.error < 0.6  # and not 1/3, which always the larger set would give
    assert proxy_a_distance(X, Y) == pytest.approx(max(2 * (1 - 2 * found.error), 0))
    assert proxy_a_distance(X, Y + 8) == 2


def test_the_log_ratio_is_that_of_the_densities():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(900, 1)), rng.normal(size=(300, 1)) + 1
    found = domain_classifier(X, Y)
    # ln N(x; 1, 1) / N(x; 0, 1) = x - 1/2, whatever the sizes; the penalty makes it a little flatter.
    rows = np.concatenate([X, Y])[:, 0]
    np.testing.assert_allclose(found.log_ratio, rows - 0.5, atol=0.5)
    assert np.argmax(found.log_ratio) == np.argmax(rows)


@pytest.mark.parametrize("distance", [frechet_distance, coral_distance, mmd, mmd_test, proxy_a_distance])
def test_sets_that_cannot_be_compared(distance):
    X, Y = sets()
    with pytest.raises(InputError, match="5 and 4 values"):
        distance(X, Y[:, :4])
    with pytest.raises(InputError, match="at least 2 rows"):
        distance(X[:1], Y)
    X[3, 0] = np.inf
    with pytest.raises(InputError, match="the first set: row 3 has values that are not finite"):
        distance(X, Y)


def test_other_refusals():
    X, Y = sets()
    for call, words in (
        (lambda: mmd(X, Y, bandwidths=0), "bandwidths"),
        (lambda: mmd_test(X, Y, n_permutations=0), "n_permutations"),
        (lambda: jensen_shannon([1, 2], [1]), "same k"),
        (lambda: jensen_shannon([1, -1], [1, 1]), "0 or more"),
        (lambda: histogram_divergence(X, Y, bins=1), "bins"),
        (lambda: shared_basis(X, Y, 0), "n_components"),
        (lambda: density_divergence(np.ones((4, 2)), Y[:, :2]), "less than two directions"),
        (lambda: domain_classifier(X[:4], Y), "at least 5 rows"),
        (lambda: mmd("ab", Y), r"shape \(n, d\)"),
    ):
        with pytest.raises(InputError, match=words):
            call()
