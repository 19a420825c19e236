"""Align the principal subspaces of two domains."""

from __future__ import annotations

import numpy as np
from scipy.linalg import svd
from sklearn.base import ClassNamePrefixFeaturesOutMixin

from featx.methods.adaptation.adapter import DomainAdapter, check_whole


class SubspaceAlignment(ClassNamePrefixFeaturesOutMixin, DomainAdapter):
    """Rotate the principal components of the source towards those of the target.

    With the k leading principal axes of each domain as columns of P_S and P_T (d, k), and M = P_S^T P_T, the
    matrix that minimises ||P_S M - P_T||_F::

        x -> (x - mean_S) P_S M        source rows
        x -> (x - mean_T) P_T          target rows

    Parameters
    ----------
    n_components : int, default=64
        Largest k; each domain has at most n - 1 axes along which its n rows vary.

    Attributes
    ----------
    source_mean_, target_mean_ : ndarray of shape (d,)
        Mean of each domain.
    source_axes_, target_axes_ : ndarray of shape (d, k)
        P_S and P_T; the largest entry of each column is positive.
    alignment_ : ndarray of shape (k, k)
        M.
    n_features_in_ : int

    Notes
    -----
    B. Fernando, A. Habrard, M. Sebban and T. Tuytelaars, "Unsupervised visual domain adaptation using
    subspace alignment", ICCV 2013, algorithm 1.
    """

    def __init__(self, n_components: int = 64):
        self.n_components = n_components

    def _fit(self, source, target):
        most = check_whole("n_components", self.n_components)
        self.source_mean_, source_axes = _principal_axes(source, most)
        self.target_mean_, target_axes = _principal_axes(target, most)
        k = min(source_axes.shape[1], target_axes.shape[1])
        self.source_axes_, self.target_axes_ = source_axes[:, :k], target_axes[:, :k]
        self.alignment_ = self.source_axes_.T @ self.target_axes_

    def _source(self, rows):
        return (rows - self.source_mean_) @ self.source_axes_ @ self.alignment_

    def _target(self, rows):
        return (rows - self.target_mean_) @ self.target_axes_

    @property
    def _n_features_out(self) -> int:
        return self.alignment_.shape[1]


def _principal_axes(rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    mean = rows.mean(axis=0)
    _, sizes, right = svd(rows - mean, full_matrices=False)
    # Leave out axes along which the rows vary only by rounding in float32.
    k = max(1, min(most, int((sizes > 1e-7 * sizes[0]).sum())))
    axes = right[:k].T
    largest = np.abs(axes).argmax(axis=0)
    return mean, axes * np.where(axes[largest, np.arange(k)] < 0, -1.0, 1.0)
