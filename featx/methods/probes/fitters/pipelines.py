"""Replace the steps before the last one of a pipeline by what a part holds: scaling, principal components.

`LastStepFitter` leaves the last step to scikit-learn; other fitters compute it themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from featx.methods.probes.fitters.fitter import Fitter, Settings
from featx.methods.probes.temperature import log_scores, score_kind

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part


class LastStepFitter(Fitter):
    """Fit the last step of a pipeline by scikit-learn for each candidate; no settings of other steps vary."""

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        rows, held = last_inputs(part, estimator)
        models = [clone(estimator).set_params(**candidate).steps[-1][1] for candidate in candidates]
        for model in models:
            model.fit(rows, part.y)
        if part.task == "numbers":
            return np.stack([model.predict(held) for model in models])
        kind = score_kind(models[0])
        return np.stack([log_scores(model, held, kind) for model in models]).astype(np.float32)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        model, rows = fit_to_last(part, estimator, settings)
        model.steps[-1][1].fit(rows, part.y)
        return model


def last_inputs(part: Part, estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return what the last step sees of the training rows (n, p) and of the held rows (m, p).

    The first step is a scaler. A PCA, if there is one, is the second, with at most `part.fewest` components;
    a step after it handles each row by itself.
    """
    steps = estimator.steps[1:-1]
    if steps and steps[0][0] == "pca":
        train, held = part.projected(min(steps.pop(0)[1].n_components, part.fewest))
    else:
        train, held = part.rows, part.held
    for _, step in steps:
        alone = clone(step)
        train = alone.fit_transform(train)
        held = alone.transform(held) if len(held) else train[:0]
    return train, held


def fit_scaler(part: Part, estimator: Any, settings: Settings) -> Any:
    """Return the pipeline with these settings, of which the scaler is fitted."""
    model = clone(estimator).set_params(**settings)
    model.steps[0] = (model.steps[0][0], part.scaler)
    return model


def fit_to_last(part: Part, estimator: Any, settings: Settings) -> tuple[Any, np.ndarray]:
    """Return the pipeline with these settings, fitted up to its last step, and the rows for that step."""
    model, at = fit_scaler(part, estimator, settings), 1
    if model.steps[1][0] == "pca":
        k, at = model.steps[1][1].n_components, 2
        rows, model.steps[1] = part.projected(k)[0], ("pca", part.pca(k))
    else:
        rows = part.rows
    for _, step in model.steps[at:-1]:
        rows = step.fit_transform(rows)
    return model, rows
