"""What a fitter does, and the fitter of any estimator: scikit-learn fits each candidate on its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featx.methods.probes.temperature import log_scores, score_kind
from featx.threads import run_in_threads

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part

Settings = Mapping[str, Any]


class Fitter:
    """Fit the candidates of a probe to a part of the training rows.

    A fitter of a family computes what scikit-learn's estimator would, up to rounding errors or a stated
    tolerance, from what the parts hold already.

    Attributes
    ----------
    rules : tuple of str
        What decides the outcome besides the estimator, such as tolerances: a part of the definition of a fit.
    """

    rules: tuple[str, ...] = ()

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        """Predict the held rows by each candidate, fitted to the training rows.

        Returns
        -------
        ndarray, float32 or float64
            For classes log scores (n_candidates, n_held, n_classes), the highest of each row 0
            (`featx.methods.probes.temperature.log_scores`); for numbers predictions (n_candidates, n_held).
        """
        raise NotImplementedError

    def fold_scores(
        self, parts: Sequence[Part], estimator: Any, candidates: Sequence[Settings], n_jobs: int = 1
    ) -> list[np.ndarray]:
        """Return `scores` of several folds; they run in threads, one thread for each fold."""
        return run_in_threads(self.scores, [(part, estimator, candidates) for part in parts], n_jobs)

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        """Return the estimator with these settings, fitted to the training rows as they were given."""
        raise NotImplementedError


class SklearnFitter(Fitter):
    """Clone and fit the estimator for each candidate.

    Steps before the first one that varies (scaling, principal components) are fitted once for each part.
    """

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        if part.task == "numbers":
            return self.labels(part, estimator, candidates)
        kind = score_kind(estimator)
        found = [log_scores(model, held, kind) for model, held in _fit_each(part, estimator, candidates)]
        return np.stack(found).astype(np.float32)

    def labels(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        """Predict labels or numbers of the held rows, (n_candidates, n_held)."""
        return np.stack([model.predict(held) for model, held in _fit_each(part, estimator, candidates)])

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        return clone(estimator).set_params(**settings).fit(part.raw, part.y)


def limit_components(estimator: Any, most: int) -> Any:
    """Return a clone with at most `most` principal components.

    Folds of whole groups may leave fewer than half of the rows to train on.
    """
    model = clone(estimator)
    components = model.get_params().get("pca__n_components")
    if isinstance(components, int) and components > most:
        model.set_params(pca__n_components=most)
    return model


def of_last_step(estimator: Any, candidates: Sequence[Settings]) -> list[dict[str, Any]]:
    """Return the settings of the last step of each candidate, those of the estimator where it names none."""
    last = estimator.steps[-1][1].get_params()
    return [last | {key.split("__")[-1]: value for key, value in found.items()} for found in candidates]


def _fit_each(part: Part, estimator, candidates: Sequence[Settings]) -> Iterator[tuple[Any, np.ndarray]]:
    """Fit every candidate to a part; yield it with its inputs for the held rows."""
    train, held, y = part.raw, part.raw_held, part.y
    model = limit_components(estimator, part.fewest)
    names = {key.split("__")[0] for candidate in candidates for key in candidate}
    if isinstance(model, Pipeline) and names <= {name for name, _ in model.steps}:
        # Steps before the first one that varies are shared; the last step is fitted for each candidate.
        varied = [i for i, (name, _) in enumerate(model.steps[:-1]) if name in names]
        first = varied[0] if varied else len(model.steps) - 1
        if first:
            shared = model[:first]
            train, held = shared.fit_transform(train, y), shared.transform(held)
        model = Pipeline(model.steps[first:])
    for candidate in candidates:
        yield clone(model).set_params(**candidate).fit(train, y), held
