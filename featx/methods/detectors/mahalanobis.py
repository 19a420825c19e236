"""Mahalanobis distance from the mean of the normal rows, with a shrunk covariance."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from sklearn.covariance import empirical_covariance, ledoit_wolf, shrunk_covariance

from featx.errors import InputError
from featx.methods.detectors.detector import ThresholdDetector


class MahalanobisDetector(ThresholdDetector):
    """Fit one Gaussian to the normal rows, its covariance shrunk towards a sphere.

    ``score(x) = -sqrt((x - mean)^T C^-1 (x - mean))`` with ``C = (1 - s) S + s tr(S) / d I``, S the empirical
    covariance. With fewer rows than features, S alone has no inverse.

    Parameters
    ----------
    shrinkage : "auto" or float, default="auto"
        s, from 0 to 1; ``"auto"`` is the Ledoit-Wolf estimate of the optimum.
    contamination : float, default=0.05
        Share of the training rows below the threshold.

    Attributes
    ----------
    location_ : ndarray of shape (d,)
        Mean of the normal rows.
    covariance_ : ndarray of shape (d, d)
        C.
    shrinkage_ : float
        s.
    offset_ : float
        Threshold on `score_samples`. It comes from the rows that C was fitted to, so new normal rows fall
        below it more often than `contamination`, most of all with few training rows.
    n_features_in_ : int

    Notes
    -----
    O. Rippel, P. Mertens and D. Merhof, "Modeling the distribution of normal data in pre-trained deep
    features for anomaly detection", ICPR 2020; O. Ledoit and M. Wolf, "A well-conditioned estimator
    for large-dimensional covariance matrices", Journal of Multivariate Analysis 88 (2004).
    """

    def __init__(self, shrinkage="auto", contamination=0.05):
        self.shrinkage = shrinkage
        self.contamination = contamination

    def _learn(self, rows):
        self.location_ = rows.mean(axis=0)
        centred = rows - self.location_
        if self.shrinkage == "auto":
            self.covariance_, self.shrinkage_ = ledoit_wolf(centred, assume_centered=True)
        elif isinstance(self.shrinkage, int | float) and 0 <= self.shrinkage <= 1:
            self.shrinkage_ = float(self.shrinkage)
            self.covariance_ = shrunk_covariance(
                empirical_covariance(centred, assume_centered=True), self.shrinkage_
            )
        else:
            raise InputError(f"shrinkage must be 'auto' or from 0 to 1, got {self.shrinkage!r}")
        try:
            self._factor = cholesky(self.covariance_, lower=True)
        except LinAlgError:
            raise InputError(
                f"the covariance of {len(rows)} rows of {rows.shape[1]} features with shrinkage "
                f"{self.shrinkage_:.3g} has no inverse; give a larger shrinkage, or rows that differ"
            ) from None

    def _score(self, rows):
        white = solve_triangular(self._factor, (rows - self.location_).T, lower=True)
        return -np.sqrt((white**2).sum(axis=0))
