"""Find components that two domains share: transfer component analysis."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

from featx.errors import InputError, UnknownName
from featx.methods.adaptation.adapter import DomainAdapter, check_positive, check_whole

#: Default limit on the rows of both domains together: memory grows with n^2, time with n^3.
MOST_ROWS = 5_000

KERNELS = ("linear", "rbf")


class TransferComponentAnalysis(ClassNamePrefixFeaturesOutMixin, DomainAdapter):
    """Find components of a kernel space in which the domains have close means and the rows still vary.

    With K (n, n) the kernel of all rows (n = n_S + n_T), H = I - 1/n, and L_ij = e_i e_j, where e is 1 / n_S
    on source and -1 / n_T on target rows (so that tr(K L) is the squared maximum mean discrepancy)::

        min_W  tr(W^T K L K W) + mu tr(W^T W)    subject to    W^T K H K W = I

    W are the leading eigenvectors of (K L K + mu I)^-1 K H K, and a row x becomes k(x, all rows) W.

    Parameters
    ----------
    n_components : int, default=64
        Largest number of columns of W; directions without variance are left out.
    mu : float, default=1.0
        Weight of the penalty on W.
    kernel : {"linear", "rbf"}, default="linear"
    gamma : float, optional
        Parameter of the rbf kernel exp(-gamma ||x - z||^2); default: 1 / (d times the variance of all
        entries).
    max_rows : int, default=5000
        Largest number of rows in both domains together; more are refused. K, K L K and K H K take 8 n^2 bytes
        each, 0.2 GB at 5,000 rows, and the eigenvectors n^3 operations.

    Attributes
    ----------
    rows_ : ndarray of shape (n, d)
        Source and target rows, the second argument of the kernel.
    weights_ : ndarray of shape (n, k)
        W.
    discrepancy_ : float
        tr(W^T K L K W): the squared distance between the means of the domains in the components.
    n_features_in_ : int

    Notes
    -----
    S. J. Pan, I. W. Tsang, J. T. Kwok and Q. Yang, "Domain adaptation via transfer component analysis", IEEE
    Transactions on Neural Networks 22 (2011). Without `target` L is 0, and this is kernel
    principal component analysis with a centred scatter.
    """

    def __init__(self, n_components=64, mu=1.0, kernel="linear", gamma=None, max_rows=MOST_ROWS):
        self.n_components = n_components
        self.mu = mu
        self.kernel = kernel
        self.gamma = gamma
        self.max_rows = max_rows

    def _fit(self, source, target):
        mu, most = check_positive("mu", self.mu), check_whole("n_components", self.n_components)
        if self.kernel not in KERNELS:
            raise UnknownName("kernel", str(self.kernel), KERNELS)
        alone = target is source
        self.rows_ = source if alone else np.concatenate([source, target])
        n = len(self.rows_)
        if n > check_whole("max_rows", self.max_rows):
            raise InputError(
                f"transfer component analysis of {n} rows needs {3 * 8 * n * n / 1e9:.1f} GB for its kernel "
                f"matrices; give at most {self.max_rows} rows of both domains, or raise max_rows"
            )
        spread = self.rows_.var() * self.rows_.shape[1]
        self.gamma_ = check_positive("gamma", self.gamma) if self.gamma is not None else 1 / (spread or 1.0)
        kernel = self._kernel(self.rows_)
        centred = kernel - kernel.mean(axis=0)
        scatter = centred.T @ centred  # K H K, as H is idempotent
        # K L K = (K e)(K e)^T has rank one.
        gap = np.zeros(n) if alone else kernel[:, : len(source)].mean(axis=1)
        if not alone:
            gap = gap - kernel[:, len(source) :].mean(axis=1)
        values, vectors = eigh(
            scatter, np.outer(gap, gap) + mu * np.eye(n), subset_by_index=[max(0, n - most), n - 1]
        )
        kept = np.flatnonzero(values > max(values[-1], 0.0) * 1e-9)[::-1]
        if not len(kept):
            raise InputError("all rows are alike: there is no component to find")
        # eigh has W^T (K L K + mu I) W = I; the paper's constraint is W^T K H K W = I.
        weights = vectors[:, kept] / np.sqrt(values[kept])
        largest = np.abs(weights).argmax(axis=0)
        self.weights_ = weights * np.where(weights[largest, np.arange(len(kept))] < 0, -1.0, 1.0)
        self.discrepancy_ = float(((gap @ self.weights_) ** 2).sum())

    def _kernel(self, rows: np.ndarray) -> np.ndarray:
        if self.kernel == "linear":
            return linear_kernel(rows, self.rows_)
        return rbf_kernel(rows, self.rows_, gamma=self.gamma_)

    def _source(self, rows):
        return self._kernel(rows) @ self.weights_

    _target = _source

    @property
    def _n_features_out(self) -> int:
        return self.weights_.shape[1]
