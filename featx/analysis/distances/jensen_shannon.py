"""Jensen-Shannon divergences, in bits: 0 for the same distribution, 1 for disjoint ones.

Class-probability profiles are compared as they are; embeddings, whose density cannot be estimated in a
thousand dimensions, in the first principal components of both sets together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.analysis.rows import check_embeddings, check_two_sets
from featx.errors import InputError


def jensen_shannon(p: Any, q: Any) -> float:
    """Return the Jensen-Shannon divergence of two discrete distributions, in bits.

    ``H((p + q) / 2) - (H(p) + H(q)) / 2`` with H the entropy.

    Parameters
    ----------
    p, q : array-like of shape (k,)
        Not negative; each is divided by its sum.

    Returns
    -------
    float
        From 0 to 1.

    References
    ----------
    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Information Theory 37 (1991),
    eq. 4.1.
    """
    a, b = np.asarray(p, np.float64).ravel(), np.asarray(q, np.float64).ravel()
    if a.shape != b.shape or not len(a):
        raise InputError(f"two distributions over the same k are needed, got {len(a)} and {len(b)} values")
    for values in (a, b):
        if not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
            raise InputError("a distribution has values of 0 or more, and some above 0")
    a, b = a / a.sum(), b / b.sum()
    middle = (a + b) / 2

    def divergence(r: np.ndarray) -> float:
        there = r > 0
        return float((r[there] * np.log2(r[there] / middle[there])).sum())

    return min(max((divergence(a) + divergence(b)) / 2, 0.0), 1.0)


def profile_divergence(P: Any, Q: Any) -> float:
    """Return `jensen_shannon` of the mean class probabilities of two sets.

    Parameters
    ----------
    P, Q : array-like of shape (n, k) and (m, k)
        Source class probabilities of the images of each set.
    """
    x, y = check_two_sets(P, Q, at_least=1)
    return jensen_shannon(x.mean(axis=0), y.mean(axis=0))


def shared_basis(X: Any, Y: Any, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of both sets in the first principal components of their union.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (m, d)
    n_components : int
        Number of components c; at most d and n + m - 1 are taken.

    Returns
    -------
    ndarrays of shape (n, c) and (m, c)
    """
    if n_components < 1:
        raise InputError(f"n_components must be at least 1, got {n_components}")
    x, y = check_two_sets(X, Y)
    union = np.concatenate([x, y])
    union -= union.mean(axis=0)
    small = union.shape[1] < len(union)
    _, V = np.linalg.eigh(union.T @ union if small else union @ union.T)
    V = V[:, ::-1][:, : min(n_components, union.shape[1], len(union) - 1)]
    scores = union @ V if small else union @ _unit(union.T @ V)
    return scores[: len(x)], scores[len(x) :]


def _unit(columns: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(columns, axis=0)
    return columns / np.where(lengths > 0, lengths, 1)


def histogram_divergence(X: Any, Y: Any, *, n_components: int = 8, bins: int = 20) -> float:
    """Return the mean divergence of the two sets' histograms along each principal component.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (m, d)
    n_components : int, default=8
        Number of principal components of the union (`shared_basis`).
    bins : int, default=20
        Number of bins of equal width, from the least to the greatest value of the union; at least 2.

    Returns
    -------
    float
        The fewer rows a bin has, the larger it is by chance alone.
    """
    if bins < 2:
        raise InputError(f"bins must be at least 2, got {bins}")
    a, b = shared_basis(X, Y, n_components)
    found = []
    for one, other in zip(a.T, b.T, strict=True):
        edges = np.histogram_bin_edges(np.concatenate([one, other]), bins)
        found.append(jensen_shannon(np.histogram(one, edges)[0], np.histogram(other, edges)[0]))
    return float(np.mean(found))


def density_divergence(X: Any, Y: Any, *, grid: int = 64) -> float:
    """Return the divergence of Gaussian kernel densities in the first two principal components of the union.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (m, d)
        At least 3 rows each, d at least 2.
    grid : int, default=64
        Points along each axis at which the densities are compared; the axes reach 10 % beyond the values.
        Bandwidths are by Scott's rule.

    Raises
    ------
    InputError
        If a set varies in less than two directions.
    """
    from scipy.stats import gaussian_kde

    check_embeddings(X, "the first set", at_least=3)
    check_embeddings(Y, "the second set", at_least=3)
    a, b = shared_basis(X, Y, 2)
    union = np.concatenate([a, b])
    low, high = union.min(axis=0), union.max(axis=0)
    room = 0.1 * (high - low)
    axes = [np.linspace(lo, hi, grid) for lo, hi in zip(low - room, high + room, strict=True)]
    points = np.stack([g.ravel() for g in np.meshgrid(*axes)])
    try:
        return jensen_shannon(*(gaussian_kde(part.T)(points) for part in (a, b)))
    except np.linalg.LinAlgError as error:
        raise InputError("a set varies in less than two directions: it has no density there") from error
