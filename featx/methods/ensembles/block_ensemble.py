"""Fit one classifier for each block of columns, and combine their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import InputError, UnknownName
from featx.methods.ensembles.blocks import block_slices
from featx.methods.ensembles.weights import blend_weights

COMBINATIONS = ("weighted", "average", "stack")
# Smaller probabilities count as this before the logarithm.
_LEAST_PROBABILITY = 1e-6


class BlockEnsemble(ClassifierMixin, BaseEstimator):
    """Combine classifiers, one for each block of columns (a backbone).

    ::

        weighted, average    p(c | x) = sum_j w_j p_j(c | x_j)                      w: `blend_weights`; 1/m
        stack                p(c | x) = softmax(V [log p_1, ..., log p_m] + b)_c    logistic regression

    w, or V and b, are learnt from out-of-fold probabilities of the training rows: no member is judged on its
    own training rows. The final members are fitted on all rows.

    Parameters
    ----------
    blocks : sequence of int, optional
        Widths of the blocks, in order; default: all columns are one block.
    estimator : classifier with predict_proba, optional
        Classifier to clone for every block; default: standardised logistic regression with C = 10 / width.
    combine : {"weighted", "average", "stack"}, default="weighted"
    cv : int, default=5
        Number of stratified folds for the out-of-fold probabilities; fewer if a class has fewer rows.
    random_state : int, RandomState or None, default=None
        Seed of the folds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    members_ : list of classifiers
        Fitted classifiers, one per block.
    weights_ : ndarray of shape (n_blocks,)
        Weights of the blocks, except with ``"stack"``. Equal if a class has a single row, which cannot be
        held out.
    final_estimator_ : LogisticRegression
        Combining classifier, with ``"stack"``.
    n_features_in_ : int

    Notes
    -----
    D. H. Wolpert, "Stacked generalization", Neural Networks 5 (1992); K. M. Ting and I. H. Witten, "Issues in
    stacked generalization", Journal of Artificial Intelligence Research 10 (1999), on class probabilities as
    the input of a linear second level.
    """

    def __init__(
        self, blocks: Sequence[int] | None = None, estimator=None, combine="weighted", cv=5, random_state=None
    ):
        self.blocks = blocks
        self.estimator = estimator
        self.combine = combine
        self.cv = cv
        self.random_state = random_state

    @classmethod
    def of(cls, members: Sequence, weights: np.ndarray) -> BlockEnsemble:
        """Return the weighted average of classifiers that are fitted already, each on a block of its own.

        All of them were fitted on labels 0 to n_classes - 1.
        """
        widths = [int(member.n_features_in_) for member in members]
        ensemble = cls(blocks=widths)
        ensemble.members_, ensemble.weights_ = list(members), np.asarray(weights, np.float64)
        ensemble.classes_ = np.arange(len(members[0].classes_))
        ensemble.n_features_in_ = sum(widths)
        return ensemble

    def fit(self, X, y):
        """Fit the members, and the weights or the classifier that combines them.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,)

        Returns
        -------
        self

        Raises
        ------
        InputError
            The blocks do not add up to the columns, a setting is out of range, or ``"stack"`` meets a class
            with a single row.
        """
        rows, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        if self.combine not in COMBINATIONS:
            raise UnknownName("combination", str(self.combine), COMBINATIONS)
        if isinstance(self.cv, bool) or not isinstance(self.cv, int | np.integer) or self.cv < 2:
            raise InputError(f"cv must be a whole number of folds, at least 2, got {self.cv!r}")
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("a classifier cannot be trained when only one class is present")
        slices = block_slices(self.blocks, rows.shape[1])
        self.members_ = [self._member(part).fit(rows[:, part], y) for part in slices]
        folds = min(int(self.cv), int(np.bincount(codes).min()))
        if self.combine == "stack":
            if folds < 2:
                raise InputError("stacking needs at least 2 rows of every class; use combine='weighted'")
            inputs = self._logarithms(self._held_out(rows, y, codes, slices, folds))
            self.final_estimator_ = LogisticRegression(max_iter=2000).fit(inputs, y)
        elif self.combine == "weighted" and folds >= 2 and len(slices) > 1:
            self.weights_ = blend_weights(self._held_out(rows, y, codes, slices, folds), codes)
        else:
            self.weights_ = np.full(len(slices), 1 / len(slices))
        return self

    def predict_proba(self, X) -> np.ndarray:
        """Return probabilities (n, n_classes), in the order of `classes_`."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        slices = block_slices(self.blocks, rows.shape[1])
        parts = np.stack(
            [m.predict_proba(rows[:, part]) for m, part in zip(self.members_, slices, strict=True)]
        )
        if self.combine == "stack":
            return self.final_estimator_.predict_proba(self._logarithms(parts))
        return np.tensordot(self.weights_, parts, axes=1)

    def predict(self, X) -> np.ndarray:
        """Return the most probable class of each row, ndarray of shape (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _member(self, part: slice):
        if self.estimator is not None:
            return clone(self.estimator)
        logreg = LogisticRegression(C=10 / (part.stop - part.start), max_iter=2000)
        return make_pipeline(StandardScaler(), logreg)

    def _held_out(self, rows, y, codes, slices, folds) -> np.ndarray:
        """Return out-of-fold probabilities (n_blocks, n, n_classes), all blocks on the same folds."""
        held_out = np.empty((len(slices), len(y), len(self.classes_)))
        splitter = StratifiedKFold(folds, shuffle=True, random_state=self.random_state)
        for train, held in splitter.split(codes, codes):
            for j, part in enumerate(slices):
                member = self._member(part).fit(rows[train, part], y[train])
                held_out[j, held] = member.predict_proba(rows[held, part])
        return held_out

    @staticmethod
    def _logarithms(parts: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(parts, _LEAST_PROBABILITY)).transpose(1, 0, 2).reshape(parts.shape[1], -1)
