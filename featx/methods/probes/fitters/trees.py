"""Fit forests to rows whose features take few values, and judge them by the trees that left a row out.

Most of the time of a tree goes into sorting the values of a feature in a node and into judging every place
between two different values. Both are faster with few different values, and a forest hardly needs more: a
tree splits again and again, and what a coarse split puts on the wrong side in one tree, another tree with
other rows and features puts right. Gradient boosting does the same for the same reason (Ke et al.,
"LightGBM", NeurIPS 2017, section 2.1). So the forest is scikit-learn's, fitted to rounded training rows.

A feature is rounded to the nearest of `values` of its own values, at equal distances in rank. A tree puts its
threshold half-way between two values that its training rows have; as rounding goes to the nearest one, a
training row that a tree has drawn falls into the same leaf rounded or not. So what is fitted is a forest for
rows as they are.

At each split a tree tries some features, drawn anew; by default the square root of their number. The fewer
they are, the weaker and the more different are the trees, and the faster. Where few of many independent
features count, a split must try many to meet one of these; where features repeat each other, few show the
same (Probst, Wright and Boulesteix, "Hyperparameters and tuning strategies for random forest", WIREs Data
Mining and Knowledge Discovery 9, 2019, section 2.1.1). Embeddings repeat themselves: 1,280 features may have
the correlations of 80 independent ones. So independent features are counted instead of all
(`count_independent`), and log2(d), the other usual number (Breiman, "Random forests", 2001), is the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import accuracy_score

from featx.methods.probes.fitters.fitter import Fitter, Settings
from featx.methods.probes.temperature import log_scores

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part

# Rows from which correlations are estimated.
_CORRELATED = 500
# Rows that all trees judge before the next ones: they stay in the processor's cache.
_AT_ONCE = 512


class ForestFitter(Fitter):
    """Fit a forest of classes, the only step of a pipeline, to rounded rows.

    With ``max_features="log2"`` it tries as many features as `count_tried` says.

    Parameters
    ----------
    values : int
        Number of different values of a feature.
    least_work : float, default=0
        Rows (n, d) with n sqrt(d) below this are fitted as they are: every row counts, and time does not.
    """

    def __init__(self, values: int, least_work: float = 0):
        self.values = values
        self.least_work = least_work

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        rows, found = self.round(part.raw), []
        for candidate in candidates:
            # The held rows judge it, not those out of bag.
            model = self._fit(part, rows, estimator, {**candidate, "forest__oob_score": False})
            found.append(log_scores(model, part.raw_held, "probabilities").astype(np.float32))
        return np.stack(found)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        return self._fit(part, self.round(part.raw), estimator, settings)

    def round(self, X: np.ndarray) -> np.ndarray:
        """Return the rows that a forest for the rows (n, d) is fitted to."""
        return X if len(X) * X.shape[1] ** 0.5 < self.least_work else round_features(X, self.values)

    def _fit(self, part: Part, rows: np.ndarray, estimator: Any, settings: Settings) -> Any:
        model = clone(estimator).set_params(**settings)
        forest = model.steps[-1][1]
        if forest.max_features == "log2":
            forest.set_params(max_features=count_tried(part.raw))
        judged = forest.oob_score
        forest.set_params(oob_score=False).fit(rows, part.y)
        if judged:
            judge_out_of_bag(forest.set_params(oob_score=True), part.raw, part.y)
        return model


def count_tried(X: np.ndarray) -> int:
    """Return the number of features to try at a split, at most the square root of all."""
    d = X.shape[1]
    least = min(np.log2(d), np.sqrt(d))
    return max(1, int(max(least, np.sqrt(count_independent(X)))))


def count_independent(X: np.ndarray) -> float:
    """Return how many independent features would be as correlated as those of rows (n, d), in total.

    With the correlations r_jk of d features it is d^2 / sum_jk r_jk^2, the participation ratio of the
    eigenvalues of their matrix: d if none are correlated, 1 if all are copies. Correlations of n rows have
    squares of 1 / (n - 1) by chance, which are taken off. Constant features do not count.
    """
    X = np.asarray(X[:: -(-len(X) // _CORRELATED)], np.float64)
    X = X - X.mean(axis=0)
    X = X[:, np.abs(X).max(axis=0) > 0]
    n, d = X.shape
    if d < 2 or n < 3:
        return float(d)
    X /= np.abs(X).max(axis=0)
    X /= np.linalg.norm(X, axis=0)
    # The matrices of rows and of features have the same sum of squares.
    product = X @ X.T if n < d else X.T @ X
    beyond = float((product**2).sum()) - d - d * (d - 1) / (n - 1)
    return d**2 / (d + max(beyond, 0.0))


def round_features(X: np.ndarray, values: int) -> np.ndarray:
    """Round each feature of rows (n, d) to the nearest of at most `values` of its values; return float32.

    These values are at equal distances in rank. A feature that has no more different values stays as it is.
    """
    X = np.asarray(X, np.float32)
    n = len(X)
    rounded = np.ascontiguousarray(X.T)
    ranks = ((np.arange(values) + 0.5) * n / values).astype(np.int64)
    for feature in rounded:
        ordered = np.sort(feature)
        new = np.append(True, ordered[1:] != ordered[:-1])
        if np.count_nonzero(new) > values:
            kept = np.unique(ordered[ranks]).astype(np.float64)
            # In float64, as thresholds; a row that has this value goes to the left.
            middles = (kept[:-1] + kept[1:]) / 2
            feature[:] = kept[np.searchsorted(middles, feature)]
    return np.ascontiguousarray(rounded.T)


def judge_out_of_bag(forest: Any, X: np.ndarray, y: np.ndarray) -> None:
    """Set the attributes of a forest of classes that ``oob_score=True`` gives, from the rows as they are.

    They are those of scikit-learn, which copies the rows that each tree left out and uses one thread.
    """
    X = np.ascontiguousarray(X, np.float32)
    left_out = np.ones((len(forest.estimators_), len(X)), bool)
    for tree, drawn in zip(left_out, forest.estimators_samples_, strict=True):
        tree[drawn] = False
    trees = [tree.tree_ for tree in forest.estimators_]
    starts = range(0, len(X), _AT_ONCE)
    blocks = [slice(start, start + _AT_ONCE) for start in starts]
    each = Parallel(require="sharedmem")(delayed(_judge)(trees, X[b], left_out[:, b]) for b in blocks)
    forest.oob_decision_function_ = np.concatenate(each)
    forest.oob_score_ = accuracy_score(y, forest.classes_[forest.oob_decision_function_.argmax(axis=1)])


def _judge(trees: list[Any], X: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Return the mean probabilities (n, n_classes) of rows over the trees that left them out.

    `left_out` is a mask (n_trees, n).
    """
    total = np.zeros((len(X), trees[0].value.shape[2]))
    for tree, out in zip(trees, left_out, strict=True):
        total[out] += tree.value[tree.apply(X)[out], 0]
    # With so few trees that all have drawn a row, it has no prediction, as in scikit-learn.
    return total / np.maximum(left_out.sum(axis=0), 1)[:, None]
