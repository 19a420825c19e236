"""A linear layer with softmax that was trained elsewhere, as a fitted classifier: `LinearHead`."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import validate_data


class LinearHead(ClassifierMixin, BaseEstimator):
    """The head of a fine-tuned network: p(c | x) = softmax(W x + b)_c.

    It has no `fit`: `of` takes the weights of a head that `featx.methods.finetune` trained.

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_features)
        W, with one row for each class, also of two.
    intercept_ : ndarray of shape (n_classes,)
        b.
    classes_ : ndarray of shape (n_classes,)
        0 to n_classes - 1.
    n_features_in_ : int
    """

    @classmethod
    def of(cls, coef: np.ndarray, intercept: np.ndarray) -> LinearHead:
        """Return the classifier with these weights, (n_classes, n_features) and (n_classes,)."""
        head = cls()
        head.coef_, head.intercept_ = coef, intercept
        head.classes_, head.n_features_in_ = np.arange(len(intercept)), coef.shape[1]
        return head

    def decision_function(self, X) -> np.ndarray:
        """Return the scores before the softmax, (n, n_classes), float64."""
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return X.astype(np.float64) @ self.coef_.T.astype(np.float64) + self.intercept_

    def predict_proba(self, X) -> np.ndarray:
        """Return the probabilities (n, n_classes), float64."""
        return softmax(self.decision_function(X), axis=1)

    def predict(self, X) -> np.ndarray:
        """Return the most probable class of each row, (n,)."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]
