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
#: From this product on, 1,000 rows of 1,280 features, rows are rounded.
_MUCH_WORK = 36_000


def _describe_forest(problem: Problem, quick: bool) -> dict[str, Any]:
    """Return the settings of a forest.

    More trees never do harm on average (Probst and Boulesteix, "To tune or not to tune the number of trees in
    random forest", JMLR 18, 2018): 500, and from 2,000 rows of 1,280 features as many as the time allows.

    `quick` trees try fewer features (`fitters.trees.count_tried`), which saves most of the time, so there are
    some more of them. Probabilities are shares of classes in leaves, averaged over trees. Where
    trees are few, leaves of 3 rows make these finer (Malley et al., "Probability machines", Methods of
    Information in Medicine 51, 2012).
    """
    work = problem.n_train * problem.dim**0.5
    most, fewest = (600, 180) if quick else (500, 150)
    trees = int(min(most, max(fewest, most * 72_000 / work)))
    return {
        "n_estimators": trees,
        "min_samples_leaf": 3 if quick and trees < 300 else 1,
        "max_features": "log2" if quick else "sqrt",
        "random_state": problem.seed,
    }


def _forest(problem: Problem):
    # Few features at a split lose accuracy where classes are rare, and time matters only where rows are many.
    quick = not problem.imbalanced and problem.n_train * problem.dim**0.5 >= _MUCH_WORK
    # With class weights, trees also draw rows by weight: hardly any tree leaves a rare row out to judge it.
    forest = RandomForestClassifier(
        class_weight="balanced" if problem.imbalanced else None,
        oob_score=not problem.imbalanced,
        **_describe_forest(problem, quick),
    )
    return Pipeline([("forest", forest)]), {}


def _forest_regression(problem: Problem):
    # scikit-learn's default tries all features at every split, which takes time in proportion; fewer than the
    # square root explain less of the variance.
    forest = RandomForestRegressor(oob_score=True, **_describe_forest(problem, quick=False))
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
    # Rounded rows explain less of the variance of numbers.
    Probe("forest", "Random forest", _forest_regression, "numbers", out_of_bag=True),
)
