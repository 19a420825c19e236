"""Distances of the first two moments: Frechet and CORAL."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.analysis.rows import check_two_sets


def frechet_distance(X: Any, Y: Any, *, shrinkage: bool = False) -> float:
    """Return the squared Frechet distance of the Gaussians with the sets' means and covariances.

    ``|m_x - m_y|^2 + tr S_x + tr S_y - 2 tr (S_x S_y)^(1/2)``. With any factors S = L^T L the last trace is
    the sum of the singular values of L_x L_y^T. This avoids the square root of a product of nearly singular
    matrices, where the usual computation loses digits or turns complex.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (m, d)
        n and m at least 2.
    shrinkage : bool, default=False
        Use covariances shrunk by Ledoit and Wolf's method, for few rows.

    Returns
    -------
    float
        At least 0. The estimate is biased upwards, more so with few rows for d: compare only values of sets
        of the same sizes, such as that of a random division of the union.

    References
    ----------
    M. Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium",
    NeurIPS 2017, eq. 6; D. C. Dowson and B. V. Landau, "The Frechet distance between multivariate normal
    distributions", J. Multivariate Analysis 12 (1982).
    """
    x, y = check_two_sets(X, Y)
    factors = [_factor(rows, shrinkage) for rows in (x, y)]
    apart = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    overlap = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    return max(float(apart + sum((L**2).sum() for L in factors) - 2 * overlap), 0.0)


def _factor(rows: np.ndarray, shrinkage: bool) -> np.ndarray:
    """Return L, where L^T L is the covariance."""
    if shrinkage:
        from sklearn.covariance import ledoit_wolf

        values, V = np.linalg.eigh(ledoit_wolf(rows)[0])
        return np.sqrt(values.clip(0))[:, None] * V.T
    centred = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    if len(rows) <= rows.shape[1]:
        return centred
    return np.asarray(np.linalg.qr(centred, mode="r"))


def coral_distance(X: Any, Y: Any) -> float:
    """Return the squared Frobenius distance of the covariances, ``|S_x - S_y|^2 / (4 d^2)``.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (m, d)
        n and m at least 2.

    References
    ----------
    B. Sun and K. Saenko, "Deep CORAL: Correlation alignment for deep domain adaptation", ECCV 2016, eq. 1.
    """
    x, y = check_two_sets(X, Y)
    d = x.shape[1]
    S_x, S_y = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (x, y))
    return float(((S_x - S_y) ** 2).sum() / (4 * d * d))
