"""Spread labels over a graph of similar images."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.analysis.neighbours import nearest
from featx.errors import InputError

__all__ = ["CosineLabelSpreading"]

UNLABELLED = -1
#: Relative residual; it is small so that rows far from all labels are right. The condition number is at most
#: (1 + alpha) / (1 - alpha), so that takes a few hundred steps.
_TOLERANCE = 1e-12
#: A cosine up to this counts as 0 (rounding in float32): even an edge of weight 1e-20 would carry a label.
_ORTHOGONAL = 1e-6


class CosineLabelSpreading(ClassifierMixin, BaseEstimator):
    """Spreads a few labels to the unlabelled rows that resemble them: local and global consistency.

    Unlike in scikit-learn's `LabelSpreading`, the graph is sparse, symmetric and weighted by cosine
    similarity, the solution is exact (not that of 30 iterations), and class masses can be set.

    Each row is joined to its `n_neighbors` most similar other rows, with the weight max(cosine, 0)^exponent
    in A, and W = A + A^T (Iscen et al. 2019). With S = D^-1/2 W D^-1/2, D the row sums of W, and Y the
    labelled rows as indicators, zero where unlabelled, the spread labels are the limit (Zhou et al. 2004,
    section 2) of F <- alpha S F + (1 - alpha) Y,

        F = (1 - alpha) (I - alpha S)^-1 Y,

    solved for each class by conjugate gradients; each row of F is then scaled to sum to 1. A new row takes
    the mean of its neighbours' distributions, weighted like the edges (Delalleau et al. 2005).

    Parameters
    ----------
    n_neighbors : int, default=10
        Edges from each row; fewer if there are fewer other rows.
    alpha : float, default=0.99
        How far labels reach, between 0 and 1; 0.99 is Zhou's. A given label may be outvoted.
    exponent : float, default=3.0
        Positive exponent of the similarity: Iscen's gamma.
    class_mass : None, "labelled" or array-like of shape (n_classes,), default=None
        Class-mass normalisation (Zhu et al. 2003, section 4): probabilities of a class are multiplied by its
        share of the labelled rows, or by the given one (in the order of ``classes_``), over their mean on
        the unlabelled rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, without -1.
    label_distributions_ : ndarray of shape (n, n_classes), float64
        Class probabilities of each row in `fit`. A row that no label reaches has the shares of the labels.
    transduction_ : ndarray of shape (n,)
        The most probable class of each row seen in `fit`.
    reached_ : ndarray of shape (n,), bool
        Whether a path of edges connects the row with a labelled one.
    rows_ : ndarray of shape (n, n_features)
        The rows seen in `fit`.
    n_features_in_ : int

    Notes
    -----
    Neighbours are exact (`featx.analysis.neighbours.nearest`): the time of `fit` grows with n^2, its memory
    with n.

    D. Zhou, O. Bousquet, T. Lal, J. Weston and B. Schölkopf, "Learning with Local and Global Consistency",
    NIPS 2003 (published 2004). A. Iscen, G. Tolias, Y. Avrithis and O. Chum, "Label Propagation for Deep
    Semi-supervised Learning", CVPR 2019. O. Delalleau, Y. Bengio and N. Le Roux, "Efficient Non-Parametric
    Function Induction in Semi-Supervised Learning", AISTATS 2005. X. Zhu, Z. Ghahramani and J. Lafferty,
    "Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions", ICML 2003.

    Examples
    --------
    >>> from featx.analysis.labelling import CosineLabelSpreading
    >>> rows = [[1, 0], [0.9, 0.2], [0.8, 0.3], [0, 1], [0.1, 0.9], [0.2, 1]]
    >>> spread = CosineLabelSpreading(n_neighbors=2).fit(rows, [3, -1, -1, 7, -1, -1])
    >>> spread.transduction_.tolist()
    [3, 3, 3, 7, 7, 7]
    """

    def __init__(self, n_neighbors=10, alpha=0.99, exponent=3.0, class_mass=None):
        self.n_neighbors = n_neighbors
        self.alpha = alpha
        self.exponent = exponent
        self.class_mass = class_mass

    def fit(self, X, y):
        """Spread the labels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Embeddings of all rows, labelled or not.
        y : array-like of shape (n,)
            Labels; -1 for an unlabelled row, also among strings in an object array.

        Raises
        ------
        InputError
            If no row has a label, or a parameter is out of range.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        labelled = np.array([label != UNLABELLED for label in y.tolist()])
        if not labelled.any():
            raise InputError(f"y: all {len(y)} rows are {UNLABELLED} (unlabelled); label one of each class")
        check_classification_targets(y[labelled])
        self.classes_, codes = np.unique(y[labelled], return_inverse=True)
        counts = np.bincount(codes)
        self.rows_ = X
        self.shares_ = counts / counts.sum()
        Y = np.zeros((len(y), len(self.classes_)))
        Y[labelled, codes] = 1
        S = _normalised(self._graph(X))
        F = _spread(S, Y, self.alpha)
        self.reached_ = _connected(S, labelled)
        self.label_distributions_ = self._distributions(F, ~labelled)
        self.transduction_ = self.classes_[self.label_distributions_.argmax(axis=1)]
        return self

    def predict_proba(self, X):
        """Return class probabilities of new rows, ndarray of shape (n, n_classes).

        A row without a similar neighbour (no cosine above 0) gets the shares of the labels.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        near, gaps = nearest(X, self.rows_, min(self.n_neighbors, len(self.rows_)))
        weights = self._weights(gaps)
        # Neighbour by neighbour: no array of queries x neighbours x classes.
        votes = np.zeros((len(X), len(self.classes_)))
        for column, weight in zip(near.T, weights.T, strict=True):
            votes += weight[:, None] * self.label_distributions_[column]
        total = weights.sum(axis=1, keepdims=True)
        return np.where(total > 0, votes / np.where(total > 0, total, 1), self.shares_)

    def predict(self, X):
        """Return the most probable class of new rows, ndarray of shape (n,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def _check_parameters(self) -> None:
        k = self.n_neighbors
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"n_neighbors must be a whole number of at least 1, got {k!r}")
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha must be between 0 and 1, got {self.alpha!r}")
        if not 0 < self.exponent < np.inf:
            raise InputError(f"exponent must be positive, got {self.exponent!r}")

    def _weights(self, gaps: np.ndarray) -> np.ndarray:
        similar = 1 - gaps
        return np.where(similar > _ORTHOGONAL, similar, 0) ** self.exponent

    def _graph(self, X: np.ndarray) -> sparse.csr_array:
        """Return the weights A + A^T."""
        n = len(X)
        near, gaps = nearest(X, X, min(self.n_neighbors + 1, n))
        # Drop the row itself or, if among many copies it is not in the list, the last neighbour.
        own = near == np.arange(n)[:, None]
        own[~own.any(axis=1), -1] = True
        start = np.repeat(np.arange(n), near.shape[1] - 1)
        A = sparse.csr_array((self._weights(gaps[~own]), (start, near[~own])), shape=(n, n))
        A.eliminate_zeros()
        return A + A.T

    def _distributions(self, F: np.ndarray, unlabelled: np.ndarray) -> np.ndarray:
        total = F.sum(axis=1, keepdims=True)
        reached = self.reached_[:, None] & (total > 0)
        P = np.where(reached, F / np.where(reached, total, 1), self.shares_)
        if self.class_mass is None or not unlabelled.any():
            return P
        P *= self._masses() / np.maximum(P[unlabelled].mean(axis=0), np.finfo(float).tiny)
        return P / P.sum(axis=1, keepdims=True)

    def _masses(self) -> np.ndarray:
        if isinstance(self.class_mass, str):
            if self.class_mass != "labelled":
                raise InputError(f"class_mass must be None, 'labelled' or numbers, got {self.class_mass!r}")
            return self.shares_
        masses = np.asarray(self.class_mass, np.float64)
        if masses.shape != self.classes_.shape or not (np.isfinite(masses).all() and masses.min() > 0):
            raise InputError(
                f"class_mass must be {len(self.classes_)} positive numbers, one for each class; "
                f"got {self.class_mass!r}"
            )
        return masses / masses.sum()


def _normalised(W: sparse.csr_array) -> sparse.csr_array:
    """Return D^-1/2 W D^-1/2; rows without edges stay zero."""
    degrees = W.sum(axis=1)
    scale = sparse.diags_array(np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0))
    return (scale @ W @ scale).tocsr()


def _spread(S: sparse.csr_array, Y: np.ndarray, alpha: float) -> np.ndarray:
    """Solve (1 - alpha) (I - alpha S)^-1 Y; positive definite, because no eigenvalue of S exceeds 1."""
    system = sparse.eye_array(len(Y), format="csr") - alpha * S
    columns = [cg(system, (1 - alpha) * y, rtol=_TOLERANCE, atol=0.0)[0] for y in Y.T]
    return np.maximum(np.stack(columns, axis=1), 0)  # negative elements are rounding


def _connected(S: sparse.csr_array, labelled: np.ndarray) -> np.ndarray:
    """Return which rows have a labelled row in their connected component."""
    count, component = connected_components(S, directed=False)
    return (np.bincount(component[labelled], minlength=count) > 0)[component]
