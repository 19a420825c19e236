"""Fit logistic regression: the penalties of a part one after another, each from the solution before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight

from featx.methods.probes.fitters.fitter import Fitter, Settings
from featx.methods.probes.lbfgs import LbfgsPath

if TYPE_CHECKING:
    from featx.methods.probes.training_rows import Part


class LogisticFitter(Fitter):
    """Fit a pipeline that ends in a logistic regression, of which `C` and `class_weight` vary."""

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        rows, held = _inputs(part, estimator)
        solver = LbfgsPath(rows, part.y)
        found = np.empty((len(candidates), len(held), len(solver.classes)), np.float32)
        settings = [_of_last_step(estimator, candidate) for candidate in candidates]
        # In order of weights and penalties, so that each solution is close to the one before.
        for i in sorted(
            range(len(candidates)), key=lambda i: (str(settings[i]["class_weight"]), settings[i]["C"])
        ):
            weights = compute_sample_weight(settings[i]["class_weight"], part.y)
            coef, intercept = solver.solve(settings[i]["C"], sample_weight=weights, tol=1e-3)
            scores = held @ coef.T + intercept
            if len(intercept) == 1:
                scores = np.hstack([np.zeros_like(scores), scores])
            found[i] = scores - scores.max(axis=1, keepdims=True)
        return found

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        model = clone(estimator).set_params(**settings)
        steps = dict(model.steps)
        rows = part.rows
        if "pca" in steps:
            rows = part.projected(steps["pca"].n_components)[0]
            model.steps[1] = ("pca", part.pca(steps["pca"].n_components))
        model.steps[0] = ("scale", part.scaler)
        logistic = model.steps[-1][1]
        weights = compute_sample_weight(logistic.class_weight, part.y)
        solver = LbfgsPath(rows, part.y)
        # Scikit-learn starts from this solution, checks it by its own criterion and continues if necessary.
        coef, intercept = solver.solve(logistic.C, sample_weight=weights)
        logistic.set_params(warm_start=True)
        logistic.coef_, logistic.intercept_ = coef.astype(rows.dtype), intercept.astype(rows.dtype)
        logistic.classes_ = solver.classes
        logistic.fit(rows, part.y).set_params(warm_start=False)
        return model


def _inputs(part: Part, estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return what the last step sees of the training rows and of the held rows."""
    components = estimator.get_params().get("pca__n_components")
    if components is None:
        return part.rows, part.held
    return part.projected(min(components, part.fewest))


def _of_last_step(estimator: Any, candidate: Settings) -> dict[str, Any]:
    """Return the settings of the last step of a candidate, those of the estimator where it names none."""
    last = estimator.steps[-1][1].get_params()
    return last | {key.split("__")[-1]: value for key, value in candidate.items()}
