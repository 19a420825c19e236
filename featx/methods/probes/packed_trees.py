"""Pack the trees of fitted forests and boosting into plain arrays, for model files, and predict with them.

A tree is stored in preorder: a node, its left subtree, its right subtree. Its structure then follows from
which nodes are leaves. Let h(i) be the number of inner nodes before node i less that of leaves. The left
child of an inner node i is i + 1, its right child the next node j > i with h(j) = h(i). A sequence is a tree
if and only if h >= 0 at every node and h = -1 after the last one (Knuth, "The Art of Computer Programming",
vol. 1, 2.3.3). So no child can point outside its tree, or backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.utils.extmath import softmax
from sklearn.utils.validation import validate_data

from featx.errors import InputError

__all__ = ["PackedBoosting", "PackedForest", "pack_boosting", "pack_forest"]

LEAF = -1
_MOST_NODES = 2**30
_MOST_LEVELS = 5000
# Rows times trees that are handled at a time.
_AT_ONCE = 500_000


class _Trees(ClassifierMixin, BaseEstimator):
    """Fitted trees.

    Attributes
    ----------
    sizes_ : ndarray of shape (n_trees,), int32
        Number of nodes of each tree.
    feature_ : ndarray of shape (n_nodes,), int32
        The feature that a node compares, or `LEAF`; tree after tree, each in preorder.
    threshold_ : ndarray of shape (n_inner,), float64
        Rows with at most this value go left.
    value_ : ndarray, float64
        Values of the leaves, in their order.
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    """

    sizes_: np.ndarray
    feature_: np.ndarray
    threshold_: np.ndarray
    value_: np.ndarray
    classes_: np.ndarray
    n_features_in_: int

    def fit(self, X: Any, y: Any) -> Any:
        """Raise `InputError`: the file does not hold the settings of the fit."""
        raise InputError("the trees of a loaded model cannot be fitted again; train a new model")

    def link(self) -> None:
        """Compute the children of every node, and check that the nodes of each tree form one."""
        inner = self.feature_ != LEAF
        n = len(inner)
        if self.sizes_.min() < 1 or self.sizes_.max() > n or self.sizes_.sum() != n or n > _MOST_NODES:
            raise InputError(f"{n} nodes do not make trees of the sizes given")
        step = np.where(inner, np.int32(1), np.int32(-1))
        ends = np.cumsum(self.sizes_)
        tree = np.repeat(np.arange(len(ends), dtype=np.int32), self.sizes_)
        # Each earlier tree has one more leaf than inner nodes.
        height = np.cumsum(step, dtype=np.int32) - step + tree
        if height.min() < 0 or (height[ends - 1] + step[ends - 1] != -1).any():
            raise InputError("the nodes of a tree do not form one")
        order = np.lexsort((height, tree))
        after = np.empty(n, np.int32)
        after[order[:-1]] = order[1:]
        self._roots = ends - self.sizes_
        self._right = after  # not used for leaves
        self._check_depth()
        # The position of an inner node's threshold, or of a leaf's value.
        counted = np.cumsum(inner, dtype=np.int32)
        self._number = np.where(inner, counted - 1, np.arange(n, dtype=np.int32) - counted)

    def _check_depth(self) -> None:
        """Refuse trees so deep that a prediction would take very long."""
        nodes = self._roots
        for _ in range(_MOST_LEVELS):
            nodes = nodes[self.feature_[nodes] != LEAF]
            if not len(nodes):
                return
            nodes = np.concatenate([nodes + 1, self._right[nodes]])
        raise InputError(f"a tree has more than {_MOST_LEVELS} levels")

    def _leaves(self, X: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield, for some rows at a time, their slice and their leaf in each tree (n_trees, n_rows)."""
        step = max(1, _AT_ONCE // len(self.sizes_))
        for start in range(0, len(X), step):
            part = X[start : start + step]
            at = np.repeat(self._roots, len(part))
            rows = np.tile(np.arange(len(part)), len(self.sizes_))
            moving = np.flatnonzero(self.feature_[at] != LEAF)
            while len(moving):
                node = at[moving]
                asked = part[rows[moving], self.feature_[node]]
                left = asked <= self.threshold_[self._number[node]]
                node = np.where(left, node + 1, self._right[node])
                at[moving] = node
                moving = moving[self.feature_[node] != LEAF]
            found = self._number[at].reshape(len(self.sizes_), len(part))
            yield slice(start, start + len(part)), found

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class of each row, ndarray of shape (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities, ndarray of shape (n, n_classes)."""
        raise NotImplementedError


class PackedForest(_Trees):
    """A fitted random forest: the mean over its trees of the class shares in a leaf.

    Attributes
    ----------
    counts_ : ndarray of shape (n_leaves,), int32
        Number of classes with rows in a leaf.
    codes_ : ndarray of shape (m,), int32
        These classes, leaf after leaf.
    value_ : ndarray of shape (m,), float64
        Their shares in the leaf.
    """

    counts_: np.ndarray
    codes_: np.ndarray

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities, ndarray of shape (n, n_classes)."""
        # As in scikit-learn: rows in single precision, tree after tree.
        X = validate_data(self, X, dtype=np.float32, reset=False)
        found = np.zeros((len(X), len(self.classes_)))
        first = np.cumsum(self.counts_) - self.counts_
        for rows, leaves in self._leaves(X):
            part = found[rows]
            for leaf in leaves:
                counts = self.counts_[leaf]
                row = np.repeat(np.arange(len(leaf)), counts)
                entry = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts - first[leaf], counts)
                part[row, self.codes_[entry]] += self.value_[entry]
        found /= len(self.sizes_)
        return found

    def link(self) -> None:
        """As for all trees; also check that the classes fit the leaves."""
        super().link()
        if len(self.counts_) != np.count_nonzero(self.feature_ == LEAF) or self.counts_.sum() != len(
            self.codes_
        ):
            raise InputError("the classes of the leaves do not fit the leaves")


class PackedBoosting(_Trees):
    """Fitted gradient boosting: scores are sums over trees, which add to each score in turn.

    Attributes
    ----------
    value_ : ndarray of shape (n_leaves,), float64
        What a leaf adds to the score.
    baseline_ : ndarray of shape (n_scores,), float64
        Scores before the first tree: one for each class, or a single one for two classes.
    """

    baseline_: np.ndarray

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores, ndarray of shape (n, n_classes), or (n,) for two classes."""
        X = validate_data(self, X, dtype=np.float64, reset=False)
        scores = np.asfortranarray(np.tile(self.baseline_, (len(X), 1)))
        for rows, leaves in self._leaves(X):
            for i, leaf in enumerate(leaves):
                scores[rows, i % len(self.baseline_)] += self.value_[leaf]
        return scores if len(self.baseline_) > 1 else scores[:, 0]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities, ndarray of shape (n, n_classes)."""
        scores = self.decision_function(X)
        if scores.ndim > 1:
            return softmax(scores)
        one = expit(scores)
        return np.stack([1 - one, one], axis=1)

    def link(self) -> None:
        """As for all trees; also check that every round has a tree for each score."""
        super().link()
        if len(self.sizes_) % len(self.baseline_):
            raise InputError(f"{len(self.sizes_)} trees for {len(self.baseline_)} scores")


def pack_forest(forest: RandomForestClassifier) -> PackedForest:
    """Pack a fitted forest, whose training rows had no missing values."""
    packed = PackedForest()
    parts = []
    for tree in (estimator.tree_ for estimator in forest.estimators_):
        left, right = tree.children_left.astype(np.int64), tree.children_right.astype(np.int64)
        order = _preorder(left, right)
        leaf = left[order] < 0
        shares = tree.value[order[leaf], 0, :]
        known = shares != 0
        parts.append(
            {
                "sizes_": [len(order)],
                "feature_": np.where(leaf, LEAF, tree.feature[order]),
                "threshold_": tree.threshold[order[~leaf]],
                "counts_": known.sum(axis=1),
                "codes_": np.nonzero(known)[1],
                "value_": shares[known],
            }
        )
    return _join(packed, parts, forest)


def pack_boosting(boosting: HistGradientBoostingClassifier) -> PackedBoosting:
    """Pack fitted gradient boosting on numeric features."""
    packed = PackedBoosting()
    packed.baseline_ = np.array(boosting._baseline_prediction, np.float64).ravel()
    parts = []
    for nodes in (predictor.nodes for round in boosting._predictors for predictor in round):
        leaf = nodes["is_leaf"].astype(bool)
        left = np.where(leaf, LEAF, nodes["left"].astype(np.int64))
        order = _preorder(left, np.where(leaf, LEAF, nodes["right"].astype(np.int64)))
        leaf = leaf[order]
        parts.append(
            {
                "sizes_": [len(order)],
                "feature_": np.where(leaf, LEAF, nodes["feature_idx"][order]),
                "threshold_": nodes["num_threshold"][order[~leaf]],
                "value_": nodes["value"][order[leaf]],
            }
        )
    return _join(packed, parts, boosting)


def _join(packed: Any, parts: list[dict[str, Any]], fitted: Any) -> Any:
    """Set the attributes of packed trees from those of each tree."""
    for name in parts[0]:
        form = np.float64 if name in ("threshold_", "value_") else np.int32
        setattr(packed, name, np.concatenate([part[name] for part in parts]).astype(form))
    packed.classes_, packed.n_features_in_ = fitted.classes_, fitted.n_features_in_
    packed.link()
    return packed


def _preorder(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the nodes of a tree in preorder."""
    lefts, rights = left.tolist(), right.tolist()
    order, ahead = [], [0]
    while ahead:
        node = ahead.pop()
        order.append(node)
        if lefts[node] >= 0:
            ahead += [rights[node], lefts[node]]
    return np.array(order)
