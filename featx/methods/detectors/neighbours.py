"""Distance to the nearest normal rows."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from featx.errors import InputError, UnknownName
from featx.methods.detectors.detector import ThresholdDetector

DISTANCES = ("euclidean", "cosine")
# Values of neighbouring rows in memory at a time.
_BLOCK = 8_000_000


class NeighborDetector(ThresholdDetector):
    """Score rows by their mean distance to the k nearest normal rows (exact search).

    ``score(x) = -1/k sum_j ||x - n_j(x)||`` over the k nearest training rows n_j(x). One training row that
    equals x is left out: a training row then scores as if it had not been trained on.

    Parameters
    ----------
    n_neighbors : int, default=2
        k, by default as Bergman et al.; at most the number of other rows.
    metric : {"euclidean", "cosine"}, default="cosine"
        ``"cosine"`` is the Euclidean distance of rows scaled to length 1, as in Sun et al.: the length of a
        pooled embedding depends on how much an image shows rather than on what.
    contamination : float, default=0.05
        Share of new normal rows below the threshold.

    Attributes
    ----------
    rows_ : ndarray of shape (n, d)
        The normal rows, scaled for `metric`.
    held_out_scores_ : ndarray of shape (n,)
        Scores of the normal rows by the other ones; with groups, by those of other groups.
    offset_ : float
        Threshold on `score_samples`.
    n_features_in_ : int

    Notes
    -----
    Y. Sun, Y. Ming, X. Zhu and Y. Li, "Out-of-distribution detection with deep nearest neighbors", ICML 2022;
    L. Bergman, N. Cohen and Y. Hoshen, "Deep nearest neighbor anomaly detection" (2020), on pooled
    features; K. Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022 (PatchCore),
    on features of patches.
    """

    def __init__(self, n_neighbors=2, metric="cosine", contamination=0.05):
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.contamination = contamination

    def _learn(self, rows):
        k = self.n_neighbors
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"n_neighbors must be a whole number of at least 1, got {k!r}")
        if self.metric not in DISTANCES:
            raise UnknownName("metric", str(self.metric), DISTANCES)
        self.rows_ = self._scaled(rows)

    def _most_parts(self):
        return 50  # without a fifth of the rows, distances to the nearest would be larger

    def _score_held_out(self, rows, groups):
        return self._score(rows) if groups is None else super()._score_held_out(rows, groups)

    def _scaled(self, rows):
        if self.metric == "euclidean":
            return rows
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)

    def _score(self, rows):
        rows, known = self._scaled(rows), self.rows_
        k = min(int(self.n_neighbors), len(known) - 1)
        near = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(known)
        found = near.kneighbors(rows, return_distance=False)
        scores = np.empty(len(rows))
        step = max(1, _BLOCK // ((k + 1) * known.shape[1]))
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            # From the differences, because scikit-learn's distances suffer from cancellation.
            distances = np.sqrt(((rows[part, None, :] - known[found[part]]) ** 2).sum(axis=2))
            distances.sort(axis=1)
            own = distances[:, 0] == 0
            scores[part] = -np.where(own, distances[:, 1:].mean(axis=1), distances[:, :-1].mean(axis=1))
        return scores
