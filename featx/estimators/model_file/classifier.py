"""Turn a fitted classifier into JSON data and arrays, and back.

An object of a kind that is not in `KINDS` is refused by name, in writing as in reading. Everything that is
read is checked before it is built: types, shapes, that every number is finite and in its range. The values
must also be consistent, because scikit-learn's compiled code follows indices without checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer
from sklearn.svm import SVC

from featx.errors import InputError
from featx.estimators.model_file.kinds import KINDS, Number, Values
from featx.methods.probes.temperature import TemperatureClassifier, score_kind

__all__ = ["describe", "rebuild"]

_MOST_STEPS = 10
_TINY = np.finfo(np.float64).tiny
# Scores of files of featx 0.1 (`featx.methods.probes.temperature`).
_OFFSET, _AS_SCORES = "probabilities and 1e-12", "probabilities as scores"
_BY_NAME = {kind.name: kind for kind in KINDS}
_BY_TYPE = {kind.cls: kind for kind in KINDS} | {kind.of: kind for kind in KINDS if kind.of}


def describe(classifier: Any, n_classes: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Describe a fitted classifier by JSON data and arrays.

    Parameters
    ----------
    classifier : scikit-learn classifier
        Classifier that was fitted on labels 0 to `n_classes` - 1.
    n_classes : int

    Returns
    -------
    description : dict
    arrays : dict of str to ndarray

    Raises
    ------
    InputError
        The classifier or a part of it is of no kind in `KINDS`, or `rebuild` would refuse it.
    """
    arrays: dict[str, np.ndarray] = {}
    described = _describe(classifier, "classifier", arrays)
    description = {"features": int(classifier.n_features_in_), "classes": n_classes, **described}
    rebuild(description, arrays, n_classes)  # checks that it can be read
    return description, arrays


def _describe(fitted: Any, where: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if type(fitted) is Pipeline:
        steps = [{"name": name, **_describe(step, f"{where}.{name}", arrays)} for name, step in fitted.steps]
        return {"kind": "pipeline", "steps": steps}
    if type(fitted) is TemperatureClassifier:
        arrays[f"{where}.temperature"] = np.asarray(fitted.temperature_)
        estimator = _describe(fitted.estimator_, where, arrays)
        return {"kind": "tempered", "scores": fitted.scores_, "estimator": estimator}
    if type(fitted) is OneVsRestClassifier:
        parts = [_describe(part, f"{where}.{i}", arrays) for i, part in enumerate(fitted.estimators_)]
        return {"kind": "one-against-rest", "estimators": parts}
    kind = _BY_TYPE.get(type(fitted))
    if kind is None:
        raise InputError(f"a {type(fitted).__name__} cannot be kept in a model file")
    kept = kind.keep(fitted) if kind.keep is not None and type(fitted) is kind.of else fitted
    for name, values in kind.arrays.items():
        array = np.asarray(getattr(kept, name))
        if array.dtype.kind in "iu":
            array = array.astype(np.int32)
        missing = len(values.shape) - array.ndim  # with two classes some drop the axis of the single score
        arrays[f"{where}.{name.strip('_')}"] = array.reshape((1,) * missing + array.shape)
    settings = {name: _to_python(getattr(kept, name)) for name in kind.settings}
    return {"kind": kind.name, **({"settings": settings} if settings else {})}


def _to_python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def rebuild(description: Any, arrays: Mapping[str, np.ndarray], n_classes: int) -> Any:
    """Build the classifier that `describe` described, and check every value.

    Parameters
    ----------
    description : object
        JSON data, which may come from anyone.
    arrays : mapping of str to ndarray
        Arrays of the classifier; one that is not used is refused.
    n_classes : int
        Number of class names of the model.

    Returns
    -------
    scikit-learn classifier
        Classifier that is fitted on labels 0 to `n_classes` - 1.

    Raises
    ------
    InputError
        A part is not exactly as its kind requires; the message names it.
    """
    builder = _Builder(dict(arrays))
    top = builder.fields(description, "classifier", None)
    features, classes = top.pop("features", None), top.pop("classes", None)
    if not Number(1, 2**31, whole=True).fits(features):
        raise InputError(f"classifier: features is {features!r:.40}, expected a whole number from 1")
    if classes != n_classes or not isinstance(classes, int):
        raise InputError(f"classifier: classes is {classes!r:.40}, and the model has {n_classes} names")
    classifier = builder.classifier(top, "classifier", features, n_classes)
    if builder.arrays:
        raise InputError(f"holds an array that its classifier has not: {next(iter(builder.arrays))!r:.80}")
    return classifier


class _Builder:
    """Build fitted objects from descriptions, and remove the arrays that they use from `arrays`."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def fields(self, value: Any, where: str, names: set[str] | None) -> dict[str, Any]:
        """Return the fields of an object, which must be exactly ``kind`` and `names`."""
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise InputError(f"{where}: expected an object with a kind, got a {type(value).__name__}")
        if names is not None and set(value) != names | {"kind"}:
            odd = sorted(set(value) ^ (names | {"kind"}))[0]
            raise InputError(f"{where}: {odd!r:.40} is unknown, or missing, in a {value['kind']!r:.40}")
        return dict(value)

    def list_of(self, value: Any, where: str, most: int) -> list[Any]:
        """Return a list, which must have 1 to `most` parts."""
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise InputError(f"{where}: expected a list of 1 to {most} parts")
        return value

    def classifier(self, value: Any, where: str, d: int, k: int, *, tempered: bool = False) -> Any:
        """Build a classifier of `d` features and `k` classes; a temperature must not contain another one."""
        kind = self.fields(value, where, None)["kind"]
        if kind in ("tempered", "temperature") and not tempered:
            build = self._tempered if kind == "tempered" else self._old_temperature
            return build(value, where, d, k)
        if kind == "pipeline":
            return self._pipeline(self.fields(value, where, {"steps"})["steps"], where, d, k)
        return self._final_step(value, where, d, k)

    def _pipeline(self, value: Any, where: str, d: int, k: int) -> Pipeline:
        steps: list[tuple[str, Any]] = []
        parts = self.list_of(value, where, _MOST_STEPS)
        numbers = {"d": d}
        for part in parts:
            step = self.fields(part, where, None)
            name = step.pop("name", None)
            if not isinstance(name, str) or not name.isidentifier() or len(name) > 40 or name in dict(steps):
                raise InputError(f"{where}: a step is named {name!r:.40}, expected another name for each")
            if len(steps) == len(parts) - 1:
                built = self._final_step(step, f"{where}.{name}", numbers["d"], k)
            else:
                built, numbers = self._fitted(step, f"{where}.{name}", {"d": numbers["d"]}, transforms=True)
                numbers["d"] = numbers.get("o", numbers["d"])
            steps.append((name, built))
        return Pipeline(steps)

    def _final_step(self, value: Any, where: str, d: int, k: int) -> Any:
        if self.fields(value, where, None)["kind"] != "one-against-rest":
            return self._fitted(value, where, {"d": d, "k": k, "s": 1 if k == 2 else k})[0]
        parts = self.list_of(self.fields(value, where, {"estimators"})["estimators"], where, k)
        if len(parts) != (1 if k == 2 else k):
            raise InputError(f"{where}: {len(parts)} estimators for {k} classes")
        found = OneVsRestClassifier(SVC())
        found.estimators_ = [
            self._fitted(part, f"{where}.{i}", {"d": d, "k": 2, "s": 1})[0] for i, part in enumerate(parts)
        ]
        found.estimator = found.estimators_[0]
        found.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(np.arange(k))
        return _set_features_and_classes(found, d, k)

    def _tempered(self, value: Any, where: str, d: int, k: int) -> TemperatureClassifier:
        parts = self.fields(value, where, {"scores", "estimator"})
        estimator = self.classifier(parts["estimator"], where, d, k, tempered=True)
        # As a file of featx 0.1 is read, so it is written again: `_old_temperature`.
        known = [score_kind(estimator)]
        known += [] if known == ["margins"] else [_OFFSET, _AS_SCORES]
        if parts["scores"] not in known:
            raise InputError(f"{where}: {parts['scores']!r:.40} are no scores of its classifier")
        temperature = self._array("temperature", Values("", low=_TINY), {}, where)
        return _temper(estimator, parts["scores"], float(temperature), d, k)

    def _old_temperature(self, value: Any, where: str, d: int, k: int) -> TemperatureClassifier:
        """Build the scikit-learn calibration of a file of featx 0.1, with one conversion for any batch.

        Margins of two classes were -d and d there, -d/2 and d/2 now. Probabilities became log(p + 1e-12),
        except where one of naive Bayes was above 1 by rounding: then they were used as they are, in the fit
        and, in another batch or not, in prediction. The fit tells: log probabilities of naive Bayes are
        too sure, so a factor above 1 was fitted to probabilities.
        """
        inner = self.fields(value, where, {"estimator"})["estimator"]
        estimator = self.classifier(inner, where, d, k, tempered=True)
        beta = float(self._array("temperature.beta", Values("", low=_TINY), {}, where))
        scores = score_kind(estimator)
        if scores == "margins":
            return _temper(estimator, scores, 1 / (2 * beta if k == 2 else beta), d, k)
        scores = _AS_SCORES if scores == "log probabilities" and beta > 1 else _OFFSET
        return _temper(estimator, scores, 1 / beta, d, k)

    def _fitted(
        self, value: Any, where: str, numbers: dict[str, int], *, transforms: bool = False
    ) -> tuple[Any, dict[str, int]]:
        """Build an object of one of `KINDS`; return it with the numbers of its letters."""
        name = self.fields(value, where, None)["kind"]
        kind = _BY_NAME.get(name)
        if kind is None or kind.transforms != transforms:
            raise InputError(f"{where}: refused, a {name!r:.60} is nothing that a model has there")
        settings = self.fields(value, where, {"settings"} if kind.settings else set()).get("settings", {})
        if not isinstance(settings, dict) or set(settings) != set(kind.settings):
            raise InputError(f"{where}: expected the settings {', '.join(kind.settings)} of a {name}")
        for key, setting in kind.settings.items():
            if not setting.fits(settings[key]):
                raise InputError(f"{where}: {key} of a {name} is {settings[key]!r:.40}")
        fitted = kind.cls()
        for key, setting in settings.items():
            setattr(fitted, key, setting)
        for key, values in kind.arrays.items():
            setattr(fitted, key, self._array(key.strip("_"), values, numbers, where))
        _set_features_and_classes(fitted, numbers["d"], numbers.get("k"))
        if kind.finish is not None:
            try:
                kind.finish(fitted, numbers)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        return fitted, numbers

    def _array(self, name: str, values: Values, numbers: dict[str, int], where: str) -> np.ndarray:
        array = self.arrays.pop(f"{where}.{name}", None)
        if array is None:
            raise InputError(f"the array {where}.{name} is missing")
        return values.checked(array, numbers, f"{where}.{name}")


def _temper(estimator: Any, scores: str, temperature: float, d: int, k: int) -> Any:
    found = TemperatureClassifier(estimator)
    found.estimator_, found.scores_, found.temperature_ = estimator, scores, temperature
    return _set_features_and_classes(found, d, k)


def _set_features_and_classes(fitted: Any, d: int, k: int | None) -> Any:
    """Set the number of features and the classes of a fitted object, unless they are properties."""
    for name, value in (("n_features_in_", d), ("classes_", None if k is None else np.arange(k))):
        if value is not None and not isinstance(getattr(type(fitted), name, None), property):
            setattr(fitted, name, value)
    return fitted
