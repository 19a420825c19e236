"""Match moments: means and variances (`PerDomainStandardScaler`), means and covariances (`CORAL`)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from sklearn.base import OneToOneFeatureMixin

from featx.methods.adaptation.adapter import DomainAdapter, check_positive


class PerDomainStandardScaler(OneToOneFeatureMixin, DomainAdapter):
    """Standardise each domain by its own mean and standard deviation.

    ``x -> (x - mean) / std`` with the moments of the row's own domain; a feature that is constant in a domain
    is only centred there. It undoes any shift and scaling of single features, and assumes that the classes
    are about as frequent in both domains.

    Attributes
    ----------
    source_mean_, source_scale_, target_mean_, target_scale_ : ndarray of shape (d,)
        Mean and divisor of each domain.
    n_features_in_ : int

    Notes
    -----
    This is the per-domain batch normalisation of Y. Li et al., "Revisiting batch normalization for practical
    domain adaptation" (2016), on embeddings.
    """

    def _fit(self, source, target):
        self.source_mean_, self.source_scale_ = _mean_and_scale(source)
        self.target_mean_, self.target_scale_ = _mean_and_scale(target)

    def _source(self, rows):
        return (rows - self.source_mean_) / self.source_scale_

    def _target(self, rows):
        return (rows - self.target_mean_) / self.target_scale_


class CORAL(OneToOneFeatureMixin, DomainAdapter):
    """Align correlations: whiten the source rows, and recolour them with the covariance of the target.

    With covariances C_S and C_T and the regularised S = C_S + lambda I, T = C_T + lambda I::

        x -> (x - mean_S) S^(-1/2) T^(1/2) + mean_T        source rows
        x -> x                                             target rows

    Parameters
    ----------
    regularization : float, default=1.0
        lambda, which makes the covariances invertible; 1 as in the paper, whose features are standardised.
        Larger values move the rows less.

    Attributes
    ----------
    source_mean_, target_mean_ : ndarray of shape (d,)
        Mean of each domain.
    recolouring_ : ndarray of shape (d, d)
        S^(-1/2) T^(1/2).
    n_features_in_ : int

    Notes
    -----
    B. Sun, J. Feng and K. Saenko, "Return of frustratingly easy domain adaptation", AAAI 2016, algorithm 1.
    The paper assumes rows of mean 0 in both domains; here the means are matched as well.
    """

    def __init__(self, regularization: float = 1.0):
        self.regularization = regularization

    def _fit(self, source, target):
        lam = check_positive("regularization", self.regularization)
        self.source_mean_, self.target_mean_ = source.mean(axis=0), target.mean(axis=0)
        self.recolouring_ = np.eye(source.shape[1])
        if target is not source:
            whiten = _power(_covariance(source), lam, -0.5)
            matrix = whiten @ _power(_covariance(target), lam, 0.5)
            # Rounding errors must not fill a feature that is constant in both domains: a later scaler would
            # blow them up.
            self.recolouring_ = np.where(np.abs(matrix) < 1e-12 * np.abs(matrix).max(), 0.0, matrix)

    def _source(self, rows):
        return (rows - self.source_mean_) @ self.recolouring_ + self.target_mean_

    def _target(self, rows):
        return rows.copy()


def _mean_and_scale(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    # A spread that rounding explains is none.
    constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean) * np.sqrt(len(rows))
    return mean, np.where(constant, 1.0, scale)


def _covariance(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=0)
    return centred.T @ centred / (len(rows) - 1)


def _power(covariance: np.ndarray, lam: float, exponent: float) -> np.ndarray:
    """Return (covariance + lam I)^exponent of a symmetric matrix, by its eigenvectors."""
    values, vectors = eigh(covariance)
    return (vectors * (np.maximum(values, 0.0) + lam) ** exponent) @ vectors.T
