"""Detectors of scikit-learn with a threshold from held-out scores."""

from __future__ import annotations

from sklearn.base import clone
from sklearn.svm import OneClassSVM

from featx.methods.detectors.detector import ThresholdDetector


class HeldOutDetector(ThresholdDetector):
    """Fit a detector of scikit-learn, and set its threshold by rows that it was not fitted on.

    The threshold comes from cross-fitting: each part of the normal rows is scored by a copy of the detector
    that was fitted on the others. The detector itself is fitted on all rows.

    Parameters
    ----------
    detector : estimator
        With ``score_samples``, higher = more normal.
    contamination : float, default=0.05
        Share of new normal rows below the threshold.
    n_parts : int, optional
        Number of parts that are held out in turn; default: 5, or 10 with few rows.

    Attributes
    ----------
    detector_ : estimator
        Fitted on all rows.
    held_out_scores_ : ndarray of shape (n,)
        Scores of the normal rows by detectors that were not fitted on them.
    offset_ : float
        Threshold on `score_samples`.
    n_features_in_ : int
    """

    def __init__(self, detector, contamination=0.05, n_parts=None):
        self.detector = detector
        self.contamination = contamination
        self.n_parts = n_parts

    def _most_parts(self):
        return self.n_parts

    def _learn(self, rows):
        self.detector_ = clone(self.detector).fit(rows)

    def _score(self, rows):
        return self.detector_.score_samples(rows)


class MeanKernelSVM(OneClassSVM):
    """One-class SVM whose scores do not grow with the number of training rows.

    libsvm scales the weights of the support vectors to a sum of nu n; divided by their sum, a score is a
    weighted mean of kernel values, and models of different n can be compared.
    """

    def score_samples(self, X):
        """Return the weighted mean of the kernel values with the support vectors, ndarray of shape (n,)."""
        return super().score_samples(X) / self.dual_coef_.sum()
