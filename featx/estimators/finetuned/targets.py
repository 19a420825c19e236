"""Encode labels and seeds in all forms that scikit-learn allows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from featx.errors import InputError


def encode_labels(y: Any, n: int, kind: str = "image") -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes of `y`, in its dtype, and the index of each label among them."""
    if y is None:
        raise InputError("FineTunedClassifier requires y to be passed, but the target y is None")
    labels = column_or_1d(y, warn=True)
    if len(labels) != n:
        raise InputError(f"y: expected one label for each of the {n} {kind}s, got {len(labels)}")
    missing = _missing(labels)
    if len(missing):
        raise InputError(f"Input y contains NaN: y[{missing[0]}] is missing; give every {kind} a label")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError("Input y contains infinity; labels are strings, whole numbers or booleans")
    check_classification_targets(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"y: a classifier needs at least 2 classes, got 1 class: {list_classes(classes)} (n_samples={n})"
        )
    return classes, codes


def _missing(labels: np.ndarray) -> np.ndarray:
    """Find NaN, None, NaT and the NA of pandas."""
    if labels.dtype.kind not in "fOM":
        return np.array([], np.int64)
    import pandas as pd

    return np.flatnonzero(pd.isna(labels))


def seed_from(random_state: Any) -> int:
    """Return the seed of a `random_state`; None draws a new one without a global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if (
        isinstance(random_state, (int, np.integer))
        and not isinstance(random_state, bool)
        and random_state >= 0
    ):
        return int(random_state)
    raise InputError(
        "FineTunedClassifier: random_state must be a whole number of at least 0, a numpy RandomState or "
        f"None, got {random_state!r}"
    )


def list_classes(classes: np.ndarray) -> str:
    """Name the first five classes, and count the others."""
    shown = ", ".join(map(repr, classes[:5].tolist()))
    return shown + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
