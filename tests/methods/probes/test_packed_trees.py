"""Trees as arrays: the same answers as scikit-learn's, and no node that leads astray."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from featx.errors import InputError
from featx.methods.probes import packed_trees
from featx.methods.probes.packed_trees import PackedForest, pack_boosting, pack_forest


@pytest.fixture(params=[2, 5])
def data(request):
    rng = np.random.default_rng(0)
    y = np.arange(120) % request.param
    X = rng.normal(size=(120, 6)).round(1).astype(np.float32)  # many values stand on a threshold
    X[:, 0] += y
    return X, y


@pytest.mark.parametrize(
    "forest",
    [
        RandomForestClassifier(15, random_state=0),
        RandomForestClassifier(15, random_state=0, max_leaf_nodes=7, class_weight="balanced"),  # best first
        RandomForestClassifier(3, random_state=0, max_depth=1),
        RandomForestClassifier(3, random_state=0, min_samples_split=500),  # leaves alone
    ],
)
def test_a_forest_says_the_same(forest, data, monkeypatch):
    X, y = data
    forest.fit(X, y)
    kept = pack_forest(forest)
    np.testing.assert_array_equal(kept.predict_proba(X), forest.predict_proba(X))
    np.testing.assert_array_equal(kept.predict(X), forest.predict(X))
    monkeypatch.setattr(packed_trees, "_AT_ONCE", 40)
    np.testing.assert_array_equal(kept.predict_proba(X), forest.predict_proba(X))


def test_boosting_says_the_same(data):
    X, y = data
    boosting = HistGradientBoostingClassifier(
        max_iter=12, max_leaf_nodes=6, min_samples_leaf=3, early_stopping=False
    ).fit(X, y)
    kept = pack_boosting(boosting)
    for rows in (X, X[:1], X.astype(np.float64)):
        np.testing.assert_array_equal(kept.predict_proba(rows), boosting.predict_proba(rows))


def forest_of(features, sizes):
    kept = PackedForest()
    kept.feature_, kept.sizes_ = np.array(features), np.array(sizes)
    leaves = kept.feature_ == packed_trees.LEAF
    kept.threshold_ = np.zeros((~leaves).sum())
    kept.counts_, kept.codes_, kept.value_ = (
        np.ones(leaves.sum(), int),
        np.zeros(leaves.sum(), int),
        leaves[leaves],
    )
    kept.classes_, kept.n_features_in_ = np.arange(2), 1
    return kept


@pytest.mark.parametrize(
    ("features", "sizes"),
    [
        ([0, -1], [2]),  # a right child is missing
        ([-1, -1], [2]),  # one node too many
        ([0, 0, -1, -1], [4]),
        ([-1, 0, -1], [3]),  # the root is a leaf and more follows
        ([0, -1, -1, 0], [3, 1]),
        ([0, -1, -1], [2, 1]),  # a tree ends in the next one
        ([0, -1, -1], [3, 0]),
        ([0, -1, -1], [5, -2]),
        ([0, -1, -1], [2]),
        ([0, -1, -1], [2**62, 2**62]),
    ],
)
def test_nodes_that_are_no_tree_are_refused(features, sizes):
    with pytest.raises(InputError, match=r"nodes"):
        forest_of(features, sizes).link()


@pytest.mark.parametrize("features", [[0] * 6000 + [-1] * 6001, [0, -1] * 6000 + [-1]])
def test_a_tree_that_is_a_chain_is_refused(features):
    with pytest.raises(InputError, match="more than 5000 levels"):
        forest_of(features, [len(features)]).link()
    short = forest_of(features[3000:-3000] if features[1] == 0 else features[4000:], [1])
    short.sizes_ = np.array([len(short.feature_)])
    short.link()


@pytest.mark.parametrize("seed", range(20))
def test_right_children_are_those_of_a_walk(seed):
    rng = np.random.default_rng(seed)
    features, sizes, expected = [], [], []

    def grow(depth):
        at = len(features)
        inner = depth < 6 and rng.random() < 0.7
        features.append(0 if inner else -1)
        expected.append(-1)
        if inner:
            grow(depth + 1)
            expected[at] = len(features)
            grow(depth + 1)

    for _ in range(4):
        before = len(features)
        grow(0)
        sizes.append(len(features) - before)
    kept = forest_of(features, sizes)
    kept.link()
    inner = kept.feature_ >= 0
    np.testing.assert_array_equal(kept._right[inner], np.array(expected)[inner])
