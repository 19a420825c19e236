"""What a journal keeps of a method, and the check that what it has is that, before it is used."""

from __future__ import annotations

import math
from copy import copy
from typing import Any, TypedDict, TypeGuard

import numpy as np

from featx.errors import InputError
from featx.results.methods import Epochs
from featx.results.reading import built
from featx.studies.comparison.bench import Outcome

#: Rounding of a sum of probabilities, and of two ways to the same one.
_ROUNDING = 1e-3


class _Seconds(TypedDict):
    extract: float | None
    fit: float | None
    predict_per_image: float


class _Said(TypedDict):
    """Fields of a record besides its arrays, each of the type that a method's result has."""

    seconds: _Seconds
    params: dict[str, Any]
    curves: Epochs | None
    notes: list[str]
    image_size: int | None
    joules: dict[str, float | None]


def record_of(outcome: Outcome) -> dict[str, Any]:
    """Return what is kept of an outcome: all but what its caller knows anyway."""
    said = {name: getattr(outcome, name) for name in _Said.__annotations__}
    answers = outcome.answers
    return {"labels": answers.labels, "sure": answers.sure, "true": answers.true} | said


def outcome_of(
    kept: dict[str, Any], name: str, title: str, kind: str, backbone: str | None, n_classes: int
) -> Outcome:
    """Return the outcome of a record, which stays as it is: times of the extraction are added later.

    Parameters
    ----------
    kept : dict
        As from `record_of`, and seen to fit.
    name, title, kind, backbone
        How this run calls it; the same rows may have been kept under another name of their backbone.
    n_classes : int
    """
    from featx.methods.probes import Answers

    said = {field: copy(kept[field]) for field in _Said.__annotations__}
    answers = Answers(kept["labels"], kept["sure"], kept["true"], n_classes)
    return Outcome(name=name, title=title, kind=kind, backbone=backbone, answers=answers, **said)


def fits_outcome(kept: Any, truth: np.ndarray, n_classes: int) -> bool:
    """Whether a record is an outcome on these test images.

    Parameters
    ----------
    kept : object
        Of the journal: anything.
    truth : ndarray of shape (n_test,), int
        Their classes.
    n_classes : int

    Returns
    -------
    bool
        Labels in range, probabilities between 0 and 1 that agree with them (the predicted class is the most
        probable one), and every other field of its type.
    """
    if not isinstance(kept, dict):
        return False
    labels, sure, true = (kept.get(name) for name in ("labels", "sure", "true"))
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
    if (together > 1 + _ROUNDING).any() or (sure < 1 / n_classes - _ROUNDING).any():
        return False
    try:
        said = built(_Said, {name: kept[name] for name in _Said.__annotations__}, "record")
        score = built(float, kept.get("cv_score", 0.0), "cv_score")
    except (InputError, KeyError):
        return False
    lengths = {len(values) for values in (said["curves"] or {}).values() if isinstance(values, list)}
    timed = said["seconds"].keys() == _Seconds.__annotations__.keys()
    known = timed and math.isfinite(said["seconds"]["predict_per_image"])
    return known and len(lengths) <= 1 and math.isfinite(score)


def fits_probabilities(kept: Any, shape: tuple[int, int]) -> bool:
    """Whether a record holds probabilities of this shape."""
    return isinstance(kept, dict) and _are_probabilities(kept.get("probabilities"), shape)


def fits_held_out(kept: Any, shape: tuple[int, int]) -> bool:
    """Whether a record holds rows of the training images, and their probabilities; or says there are none."""
    if not isinstance(kept, dict) or "found" not in kept:
        return False
    found, (n_train, n_classes) = kept["found"], shape
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


def _are_probabilities(value: Any, shape: tuple[int, ...]) -> bool:
    if not _is_array(value, shape, "f"):
        return False
    return bool(
        np.isfinite(value).all() and (value >= 0).all() and np.allclose(value.sum(axis=1), 1, atol=_ROUNDING)
    )


def _is_array(value: Any, shape: tuple[int, ...], kinds: str) -> TypeGuard[np.ndarray]:
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in kinds
