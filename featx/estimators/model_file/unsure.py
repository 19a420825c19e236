"""Turn the rule for unsure answers into JSON data and an array, and back, with every value checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.errors import InputError
from featx.methods.abstention import Confidence, Familiarity, UnsureRule

__all__ = ["UNSURE", "UNSURE_ROWS", "rebuild_unsure", "unsure_arrays"]

#: The field of ``info`` in model.json.
UNSURE = "unsure"
#: The rows of its `Familiarity`.
UNSURE_ROWS = "unsure.rows"
#: Rounding to float16 changes the length of a row by at most this; only a row of zeros has another length.
_LENGTH_ERROR = 1e-2
#: 1 - cosine, with room for rounding.
_DISTANCES = (-0.1, 2.1)
#: Fields of a `Confidence` that are numbers from 0 to 1.
_CONFIDENCE = ("threshold", "sure", "answered", "right")


def unsure_arrays(rule: UnsureRule | None) -> dict[str, np.ndarray]:
    """Return the arrays of a rule; its numbers are `UnsureRule.to_dict`."""
    if rule is None or rule.familiarity is None:
        return {}
    return {UNSURE_ROWS: rule.familiarity.rows}


def rebuild_unsure(info: Mapping[str, Any], rows: np.ndarray | None, dim: int) -> UnsureRule | None:
    """Return the rule in a model file, None for a file without one.

    Parameters
    ----------
    info : mapping
        The field of model.json.
    rows : ndarray or None
        The array `UNSURE_ROWS`.
    dim : int
        Length of the rows that the classifier takes.

    Raises
    ------
    InputError
        A part is not as `UnsureRule.to_dict` writes it, or the rows are not `dim` long and of length 1.
    """
    described = info.get(UNSURE)
    if described is None:
        if rows is not None:
            raise InputError(f"holds the array {UNSURE_ROWS!r}, and no rule for unsure answers")
        return None
    if not isinstance(described, dict) or set(described) != {"confidence", "distance"}:
        raise InputError("unsure: expected an object with confidence and distance")
    familiarity = None
    if (described["distance"] is None) != (rows is None):
        raise InputError(f"unsure: the array {UNSURE_ROWS} or its distance is missing")
    if rows is not None:
        threshold = _number(described["distance"], "distance", *_DISTANCES)
        familiarity = Familiarity(_check_rows(rows, dim), threshold)
    return UnsureRule(_confidence(described["confidence"]), familiarity)


def _confidence(described: Any) -> Confidence | None:
    if described is None:
        return None
    if not isinstance(described, dict) or set(described) != {*_CONFIDENCE, "guaranteed"}:
        raise InputError(f"unsure: confidence: expected {', '.join(_CONFIDENCE)} and guaranteed")
    if not isinstance(described["guaranteed"], bool):
        raise InputError(f"unsure: guaranteed is {described['guaranteed']!r:.40}")
    for name in _CONFIDENCE:
        if described[name] is not None or name != "right":
            _number(described[name], name, 0, 1)
    return Confidence(**described)


def _number(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"unsure: {name} is {value!r:.40}, expected a number from {low} to {high}")
    return float(value)


def _check_rows(rows: np.ndarray, dim: int) -> np.ndarray:
    if rows.dtype != np.float16 or rows.ndim != 2 or rows.shape[1] != dim or not len(rows):
        raise InputError(
            f"{UNSURE_ROWS} is {rows.dtype} of shape {rows.shape}, expected float16 rows of {dim}"
        )
    lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
    if not (np.abs(lengths[lengths > 0] - 1) <= _LENGTH_ERROR).all() or not math.isfinite(lengths.sum()):
        raise InputError(f"{UNSURE_ROWS}: its rows are not of length 1")
    return rows
