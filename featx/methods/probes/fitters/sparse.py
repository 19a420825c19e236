"""Fit models to sparse rows: scikit-learn fits each candidate on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.methods.probes.fitters.fitter import Fitter, Settings, SklearnFitter

if TYPE_CHECKING:
    from featx.methods.probes.training_rows import Part


class SparseFitter(Fitter):
    """Fit as `SklearnFitter` does; classes are scored, so that the log loss takes part in the choice.

    `SklearnFitter` also fits the estimators of users, whose probabilities may be of any kind: of these only
    the labels count.
    """

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        return SklearnFitter().scores(part, estimator, candidates)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        return SklearnFitter().fit(part, estimator, settings)
