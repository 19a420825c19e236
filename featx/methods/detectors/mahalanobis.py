"""Mahalanobis distance from the mean of the normal rows, with a shrunk covariance."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigh, solve_triangular
from sklearn.covariance import empirical_covariance, ledoit_wolf, shrunk_covariance

from featx.errors import InputError
from featx.methods.detectors.detector import ThresholdDetector
from featx.methods.detectors.thresholds import held_out_parts


class MahalanobisDetector(ThresholdDetector):
    """Fit one Gaussian to the normal rows, its covariance shrunk towards a sphere.

    ``score(x) = -sqrt((x - mean)^T C^-1 (x - mean))`` with ``C = (1 - s) S + s tr(S) / d I``, S the empirical
    covariance. With fewer rows than features, S alone has no inverse.

    Parameters
    ----------
    shrinkage : "auto" or float, default="auto"
        s, from 0 to 1; ``"auto"`` is the Ledoit-Wolf estimate of the optimum.
    contamination : float, default=0.05
        Share of new normal rows below the threshold.

    Attributes
    ----------
    location_ : ndarray of shape (d,)
        Mean of the normal rows.
    covariance_ : ndarray of shape (d, d)
        C.
    shrinkage_ : float
        s.
    held_out_scores_ : ndarray of shape (n,)
        Scores of the normal rows, each by mean and covariance of the rows without it (of more than 200 rows,
        without its part of 200).
    offset_ : float
        Threshold on `score_samples`.
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

    def _most_parts(self):
        return 200  # with as many, those that remain are nearly all rows

    def _score_held_out(self, rows, groups):
        parts = held_out_parts(len(rows), groups, self._most_parts())
        if not parts:
            return np.empty(0)
        others = _LeaveOut(rows - self.location_, None if self.shrinkage == "auto" else self.shrinkage_)
        scores = np.empty(len(rows))
        for part in parts:
            scores[part] = others.score(part)
        return scores[np.sort(np.concatenate(parts))]


class _LeaveOut:
    """Score some rows by mean and covariance of all others, without a second fit.

    Let u_k be the n centred rows, S their covariance, and leave the b rows of a part P out. With
    h = sum_P u_k and n' = n - b, the mean moves by -h / n', and the covariance of the others is

        S' = n/n' S - D^T D,  D = [u_k, k in P; h / sqrt(n')] / sqrt(n')

    of b + 1 rows. C' = (1 - s') S' + s' tr(S')/d I is then a diagonal matrix, in the eigenvectors of S, less
    a product of b + 1 rows, which the formula of Sherman, Morrison and Woodbury inverts. The estimate s' of
    Ledoit and Wolf needs tr(S'), tr(S'^2) and the sum of |u_k + h/n'|^4 over the others.
    """

    def __init__(self, centred: np.ndarray, shrinkage: float | None) -> None:
        self.n, self.dim = centred.shape
        self.shrinkage = shrinkage
        if self.n <= self.dim:
            squares, vectors = eigh(centred @ centred.T)
            squares = np.maximum(squares, 0.0)
            self.rows = vectors * np.sqrt(squares)
        else:
            squares, vectors = eigh(centred.T @ centred)
            squares = np.maximum(squares, 0.0)
            self.rows = centred @ vectors
        self.spread = squares / self.n  # eigenvalues of S
        self.norms = (self.rows**2).sum(axis=1)
        self.norm_weighted = self.norms @ self.rows

    def score(self, part: np.ndarray) -> np.ndarray:
        """Return the scores of the rows `part` by the others, ndarray of shape (len(part),)."""
        out = self.rows[part]
        left, shift = self.n - len(part), out.sum(axis=0)
        taken = np.vstack([out, shift / np.sqrt(left)]) / np.sqrt(left)
        trace = self.n / left * self.spread.sum() - (taken**2).sum()
        s = self._ledoit_wolf(part, taken, trace) if self.shrinkage is None else self.shrinkage
        diagonal = (1 - s) * self.n / left * self.spread + s * trace / self.dim
        # Where all others are equal, they have no covariance.
        diagonal = np.maximum(diagonal, np.finfo(np.float64).eps * self.spread.max())
        taken *= np.sqrt(1 - s)
        moved = out + shift / left
        eased = moved / diagonal
        distances = (moved * eased).sum(axis=1)
        inner, vectors = eigh(np.eye(len(taken)) - (taken / diagonal) @ taken.T)
        # Where the covariance of the others has no inverse, the distance is large and finite.
        cross = (eased @ taken.T) @ vectors
        return -np.sqrt(distances + (cross**2 / np.maximum(inner, np.finfo(np.float64).eps)).sum(axis=1))

    def _ledoit_wolf(self, part: np.ndarray, taken: np.ndarray, trace: float) -> float:
        """Return the estimate s' of the rows without `part` (Ledoit and Wolf 2004, section 3)."""
        n, left = self.n, self.n - len(part)
        h = self.rows[part].sum(axis=0) / left
        size = h @ h
        # |u + h|^4 = (|u|^2 + 2 u.h + |h|^2)^2, summed over all rows, whose sum of u.h is 0.
        fourth = (
            (self.norms**2).sum()
            + 4 * n * (self.spread * h) @ h
            + n * size**2
            + 4 * self.norm_weighted @ h
            + 2 * size * self.norms.sum()
            - (((self.rows[part] + h) ** 2).sum(axis=1) ** 2).sum()
        )
        square = (
            (n / left) ** 2 * (self.spread**2).sum()
            - 2 * n / left * (taken**2 @ self.spread).sum()
            + ((taken @ taken.T) ** 2).sum()
        )
        spread = (square - trace**2 / self.dim) / self.dim
        noise = (fourth / left - square) / (self.dim * left)
        return float(np.clip(noise / spread, 0.0, 1.0)) if spread > 0 else 0.0
