"""Apply the commonest classifier of a model file with NumPy alone: importing scikit-learn takes a second.

It standardises rows, computes a linear score of each class, and divides the scores by a temperature. The
numbers are those of the classifier that `rebuild` makes of the same arrays, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["PlainClassifier", "find_plain"]

#: Kinds with one linear score of each class, and their penalty among the settings.
_LINEAR = {"logistic-regression": "C", "logistic-probe": "C", "ridge": "alpha"}
_TINY = np.finfo(np.float64).tiny
_TOP = {"features", "classes", "kind", "scores", "estimator"}


class PlainClassifier:
    """A linear classifier on standardised rows, with a temperature.

    Attributes
    ----------
    description, arrays
        As `rebuild` takes them.
    n_features_in_, n_classes : int
    """

    def __init__(self, description: dict[str, Any], arrays: dict[str, np.ndarray], names: tuple[str, str]):
        scaler, linear = (f"classifier.{name}" for name in names)
        self.description, self.arrays = description, arrays
        self.n_features_in_: int = description["features"]
        self.n_classes: int = description["classes"]
        self._mean, self._scale = arrays[f"{scaler}.mean"], arrays[f"{scaler}.scale"]
        self._coef, self._intercept = arrays[f"{linear}.coef"], arrays[f"{linear}.intercept"]
        self._temperature = float(arrays["classifier.temperature"])

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, n_classes) of rows (n, d)."""
        x = rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)
        x = (x - self._mean.astype(x.dtype)) / self._scale.astype(x.dtype)
        z = np.asarray(x @ self._coef.T + self._intercept, np.float64)
        if z.shape[1] == 1:
            z = np.hstack([-z / 2, z / 2])
        z = (z - z.max(axis=1, keepdims=True)) / self._temperature
        p = np.exp(z)
        found: np.ndarray = p / p.sum(axis=1, keepdims=True)
        return found

    def build(self) -> Any:
        """Return the same classifier as one of scikit-learn; `InputError` as for `rebuild`."""
        from featx.estimators.model_file.classifier import rebuild

        return rebuild(self.description, self.arrays, self.n_classes)


def find_plain(description: Any, arrays: Mapping[str, np.ndarray], n_classes: int) -> PlainClassifier | None:
    """Return the classifier of a model file if it is of this form, None otherwise.

    None also for a damaged one: `rebuild` then refuses it and says why.
    """
    if not isinstance(description, dict) or set(description) != _TOP:
        return None
    d, k, estimator = description["features"], description["classes"], description["estimator"]
    if (type(d), k, type(k)) != (int, n_classes, int) or d < 1:
        return None
    if (description["kind"], description["scores"]) != ("tempered", "margins"):
        return None
    if (
        not isinstance(estimator, dict)
        or set(estimator) != {"kind", "steps"}
        or estimator["kind"] != "pipeline"
    ):
        return None
    names = _names(estimator["steps"])
    if names is None or not _are_its_arrays(arrays, names, d, 1 if k == 2 else k):
        return None
    return PlainClassifier(description, dict(arrays), names)


def _names(steps: Any) -> tuple[str, str] | None:
    """Return the names of a scaler and a linear classifier, None if the steps are others."""
    if not isinstance(steps, list) or len(steps) != 2 or not all(isinstance(step, dict) for step in steps):
        return None
    scaler, linear = steps
    if set(scaler) != {"name", "kind"} or set(linear) != {"name", "kind", "settings"}:
        return None
    if scaler["kind"] != "standard-scaler" or linear["kind"] not in tuple(_LINEAR):  # a list has no hash
        return None
    settings, penalty = linear["settings"], _LINEAR[linear["kind"]]
    if not isinstance(settings, dict) or set(settings) != {penalty, "class_weight"}:
        return None
    if type(settings[penalty]) not in (int, float) or not 0 <= settings[penalty] <= 1e300:
        return None
    if settings["class_weight"] is not None and settings["class_weight"] != "balanced":
        return None
    names = scaler["name"], linear["name"]
    if names[0] == names[1] or not all(type(n) is str and n.isidentifier() and len(n) <= 40 for n in names):
        return None
    return names


def _are_its_arrays(arrays: Mapping[str, np.ndarray], names: tuple[str, str], d: int, scores: int) -> bool:
    """Return whether the arrays are exactly those of such a classifier, in shape, dtype and range."""
    shapes: dict[str, tuple[int, ...]] = {
        "classifier.temperature": (),
        f"classifier.{names[0]}.mean": (d,),
        f"classifier.{names[0]}.scale": (d,),
        f"classifier.{names[1]}.coef": (scores, d),
        f"classifier.{names[1]}.intercept": (scores,),
    }
    positive = ("classifier.temperature", f"classifier.{names[0]}.scale")
    return arrays.keys() == shapes.keys() and all(
        arrays[name].shape == shape
        and arrays[name].dtype in (np.float32, np.float64)
        and bool(np.isfinite(arrays[name]).all())
        and (name not in positive or bool((arrays[name] >= _TINY).all()))
        for name, shape in shapes.items()
    )
