"""Ensembles of decision trees: forests and gradient boosting.

The settings of a forest matter little (Probst et al. 2019), so it has no grid.
"""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline

from featx.methods.probes.catalogue import components, scaled
from featx.methods.probes.fitters.pipelines import LastStepFitter
from featx.methods.probes.fitters.trees import ForestFitter
from featx.methods.probes.probe import Probe, Problem

#: Different values of a feature that forests of many rows are fitted to.
_VALUES = 32
#: A tree takes time in proportion to the rows and to the features tried at a split, the square root of all.
#: From this product on, 1,000 rows of 1,280 features, forests are fitted in the quicker way.
_MUCH_WORK = 36_000


def _forest_settings(problem: Problem) -> dict[str, Any]:
    """Return what forests of classes and of numbers have in common.

    More trees never do harm on average (Probst and Boulesteix, "To tune or not to tune the number of trees in
    random forest", JMLR 18, 2018): 500, or 600 where they are quick to fit, and from 2,000 rows of 1,280
    features as many as the same time allows.

    Probabilities are shares of classes in leaves, averaged over trees. Where trees are few, leaves of 3 rows
    make these finer (Malley et al., "Probability machines", Methods of Information in Medicine 51, 2012).
    """
    work = problem.n_train * problem.dim**0.5
    trees = 500 if work < _MUCH_WORK else int(min(600, max(200, 600 * 72_000 / work)))
    return {
        "n_estimators": trees,
        "min_samples_leaf": 1 if trees >= 300 else 3,
        "max_features": "sqrt",  # at most; see `fitters.trees.count_tried`
        "random_state": problem.seed,
    }


def _forest(problem: Problem):
    # Weights would also be those by which trees draw rows, and leave rare ones out of hardly any tree.
    forest = RandomForestClassifier(
        class_weight="balanced" if problem.imbalanced else None,
        oob_score=not problem.imbalanced,
        **_forest_settings(problem),
    )
    return Pipeline([("forest", forest)]), {}


def _forest_regression(problem: Problem):
    forest = RandomForestRegressor(oob_score=True, **_forest_settings(problem))
    return Pipeline([("forest", forest)]), {}


def _boosting(problem: Problem):
    # Each round fits one tree per class: 64 components, 64 bins and shallow trees keep it short.
    # Early stopping would set aside a tenth of the few training rows.
    boosting = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.1,
        max_leaf_nodes=8,
        min_samples_leaf=5,
        l2_regularization=1.0,
        max_features=0.3,
        max_bins=63,
        early_stopping=False,
        class_weight="balanced" if problem.imbalanced else None,
        random_state=problem.seed,
    )
    return scaled(components(problem, 64), ("boosting", boosting)), {}


PROBES = (
    Probe(
        "forest",
        "Random forest",
        _forest,
        calibrated=True,
        fitter=ForestFitter(_VALUES, _MUCH_WORK),
        few_folds=True,
        out_of_bag=True,
        shown=("forest__n_estimators",),
    ),
    Probe(
        "boosting",
        "Gradient boosting",
        _boosting,
        calibrated=True,
        fitter=LastStepFitter(),
        few_folds=True,
        shown=("pca__n_components", "boosting__max_iter"),
    ),
    Probe(
        "forest",
        "Random forest",
        _forest_regression,
        "numbers",
        fitter=ForestFitter(_VALUES, _MUCH_WORK),
        out_of_bag=True,
    ),
)
