"""The outcome of a cell, and the checks of records that an earlier run left.

A record holds ``title``, ``seconds`` (``fit``, ``predict_per_image``), ``joules``, ``params``, ``notes``,
``curves`` and ``cv_score``, and either ``labels``, ``sure`` and ``true`` (`featx.metrics.Answers`), or
``values``, a number for each test row. A record of probabilities holds nothing else.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

import numpy as np

from featx.errors import InputError
from featx.results.methods import Epochs, kept_start
from featx.results.reading import parse_as

if TYPE_CHECKING:
    from featx.studies.evaluation.methods import Fit, Method

#: Tolerance for sums of probabilities, and for two computations of the same one.
_ROUNDING = 1e-3


class _Seconds(TypedDict):
    fit: float
    predict_per_image: float


class _Common(TypedDict):
    """The fields that every record has, and their types."""

    title: str
    seconds: _Seconds
    joules: float | None
    params: dict[str, Any]
    notes: list[str]
    curves: Epochs | None
    cv_score: float


@dataclass
class Outcome:
    """What a method predicted for the test rows, and what that cost."""

    method: Method
    seconds: dict[str, float | None]  # ``fit`` and ``predict_per_image``; a study adds ``extract``
    params: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    curves: dict[str, Any] | None = None
    cv_score: float = 0.0
    joules: dict[str, float | None] = field(default_factory=dict)  # ``fit``; a study adds ``extract``
    answers: Any = None  # `Answers`, for classes: smaller than all probabilities
    values: np.ndarray | None = None  # predicted numbers (n_test,)
    earlier_run: str | None = None  # the time at which an earlier run computed it
    fit: Fit | None = None  # the fitted method, if this run fitted it
    title: str = ""  # of the variant that was fitted; default: that of the method

    def __post_init__(self) -> None:
        self.title = self.title or self.method.title

    @classmethod
    def of(cls, method: Method, record: dict[str, Any], n_classes: int | None, **more: Any) -> Outcome:
        """Return the outcome of a record; the record is copied, because studies add to ``seconds``."""
        from featx.metrics import Answers

        found = {name: copy(record[name]) for name in _Common.__annotations__}
        found["joules"] = {"fit": record["joules"]}
        answers = None
        if "labels" in record:
            answers = Answers(record["labels"], record["sure"], record["true"], n_classes or 0)
        return cls(method, **found, answers=answers, values=record.get("values"), **more)

    @property
    def competes(self) -> bool:
        """Whether it may be the best: no reference, nor a fine-tuning that kept the head it began with."""
        return self.method.kind != "floor" and not (self.method.trains_network and kept_start(self.curves))

    @property
    def labels(self) -> np.ndarray:
        """Predicted classes, ndarray of shape (n_test,)."""
        return np.asarray(self.answers.labels)


def valid_answers(record: Any, truth: np.ndarray, n_classes: int) -> bool:
    """Whether a record, which may be anything, holds answers for test rows with the true classes `truth`.

    Labels must be in range, the predicted class the most probable one, probabilities between 0 and 1, and
    every other field of its type.
    """
    if not _valid_common(record, {"labels", "sure", "true"}):
        return False
    labels, sure, true = (record[name] for name in ("labels", "sure", "true"))
    n = len(truth)
    if not (_is_array(labels, (n,), "iu") and _is_array(sure, (n,), "f") and _is_array(true, (n,), "f")):
        return False
    if n and not (labels.min() >= 0 and labels.max() < n_classes):
        return False
    if not all(np.isfinite(p).all() and (p >= 0).all() and (p <= 1 + _ROUNDING).all() for p in (sure, true)):
        return False
    right = labels == truth
    together = np.where(right, sure, sure + true)
    if not (np.allclose(sure[right], true[right]) and (sure >= true - _ROUNDING).all()):
        return False
    return bool((together <= 1 + _ROUNDING).all() and (sure >= 1 / n_classes - _ROUNDING).all())


def valid_values(record: Any, n_test: int) -> bool:
    """Whether a record holds a finite number for each test row."""
    if not _valid_common(record, {"values"}) or not _is_array(record["values"], (n_test,), "f"):
        return False
    return bool(np.isfinite(record["values"]).all())


def valid_probabilities(record: Any, shape: tuple[int, int]) -> bool:
    """Whether a record holds probabilities of this shape."""
    return isinstance(record, dict) and _are_probabilities(record.get("probabilities"), shape)


def valid_held_out(record: Any, shape: tuple[int, int]) -> bool:
    """Whether a record holds out-of-fold probabilities and the training rows they belong to, or neither."""
    if not isinstance(record, dict) or "found" not in record:
        return False
    found, (n_train, n_classes) = record["found"], shape
    if found is None:
        return True
    if not isinstance(found, list) or len(found) != 2:
        return False
    rows, probabilities = found
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
        return False
    if rows.min() < 0 or rows.max() >= n_train or (np.diff(rows) <= 0).any():
        return False
    return _are_probabilities(probabilities, (len(rows), n_classes))


def _valid_common(record: Any, others: set[str]) -> bool:
    """Whether a record has the common fields, with valid values, and the `others`, and no more."""
    common = _Common.__annotations__.keys()
    if not isinstance(record, dict) or record.keys() != common | others:
        return False
    try:
        found = parse_as(_Common, {name: record[name] for name in common}, "record")
    except InputError:
        return False
    lengths = {len(values) for values in (found["curves"] or {}).values() if isinstance(values, list)}
    seconds = found["seconds"]
    if seconds.keys() != _Seconds.__annotations__.keys() or len(lengths) > 1:
        return False
    return all(math.isfinite(x) and x >= 0 for x in seconds.values()) and math.isfinite(found["cv_score"])


def _are_probabilities(value: Any, shape: tuple[int, ...]) -> bool:
    if not _is_array(value, shape, "f"):
        return False
    return bool(
        np.isfinite(value).all() and (value >= 0).all() and np.allclose(value.sum(axis=1), 1, atol=_ROUNDING)
    )


def _is_array(value: Any, shape: tuple[int, ...], kinds: str) -> TypeGuard[np.ndarray]:
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in kinds
