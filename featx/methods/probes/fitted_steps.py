"""Build fitted scalers and PCAs of scikit-learn from moments and axes that are known already."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler


def make_scaler(
    mean: np.ndarray, variance: np.ndarray, n: int, *, offset: np.ndarray | None = None
) -> StandardScaler:
    """Return the fitted scaler of `n` rows with these means (d,) and variances (d,), float64.

    `offset` are the means of the values that were summed, if they were shifted before.
    """
    # Features that vary by rounding errors of the sums only are not scaled, as in scikit-learn.
    eps = np.finfo(np.float64).eps
    constant = variance <= n * eps * variance + (n * (mean if offset is None else offset) * eps) ** 2
    found = StandardScaler()
    found.mean_, found.var_ = mean, variance
    found.scale_ = np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))
    found.n_samples_seen_, found.n_features_in_ = n, len(mean)
    return found


def make_pca(axes: np.ndarray, variances: np.ndarray, total: float, n: int, seed: int) -> PCA:
    """Return the fitted PCA of `n` centred rows.

    Parameters
    ----------
    axes : ndarray of shape (k, d)
        The first principal axes.
    variances : ndarray of shape (k,)
        Variances along them.
    total : float
        The sum of the variances of all features.
    """
    k, d = axes.shape
    found = PCA(n_components=k, random_state=seed)
    found.components_, found.explained_variance_ = axes, variances
    found.explained_variance_ratio_ = variances / total if total else np.zeros(k)
    found.singular_values_ = np.sqrt(variances * max(n - 1, 1))
    found.mean_ = np.zeros(d, axes.dtype)
    found.n_components_, found.n_samples_, found.n_features_in_ = k, n, d
    rest = min(d, n) - k
    found.noise_variance_ = max(total - float(variances.sum()), 0.0) / rest if rest > 0 else 0.0
    found._fit_svd_solver = "covariance_eigh"
    return found


def orient_axes(axes: np.ndarray) -> np.ndarray:
    """Return axes (k, d) with the largest entry of each above 0, as scikit-learn does."""
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    return np.ascontiguousarray(axes * np.where(largest < 0, -1, 1).astype(axes.dtype)[:, None])
