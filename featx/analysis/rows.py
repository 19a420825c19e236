"""Check the embeddings and labels that the functions of this package are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import InputError

__all__ = ["check_embeddings", "check_two_sets", "class_codes"]


def check_embeddings(X: Any, name: str, *, at_least: int = 1, dtype: Any = np.float64) -> np.ndarray:
    """Return `X` as a C-contiguous array (n, d) of `dtype`; None leaves the dtype as it is.

    `InputError`, with `name` and the row, if it is not numbers (n, d), not finite, or n is below `at_least`.
    """
    rows = np.asarray(X)
    if rows.ndim != 2 or not rows.shape[1] or rows.dtype.kind not in "fiu":
        raise InputError(f"{name}: expected numbers of shape (n, d), got {rows.dtype} of shape {rows.shape}")
    if len(rows) < at_least:
        raise InputError(f"{name}: at least {at_least} rows are needed, got {len(rows)}")
    rows = np.ascontiguousarray(rows, dtype)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(f"{name}: row {int(np.argmin(finite))} has values that are not finite")
    return rows


def check_two_sets(X: Any, Y: Any, at_least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of rows as float64; they must have the same width."""
    x, y = (
        check_embeddings(Z, f"the {which} set", at_least=at_least)
        for Z, which in ((X, "first"), (Y, "second"))
    )
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"the sets have rows of {x.shape[1]} and {y.shape[1]} values: embeddings of one space are needed"
        )
    return x, y


def class_codes(y: Any, n: int) -> tuple[np.ndarray, int]:
    """Return codes 0 .. k - 1 of the classes that occur in `y`, labels of n rows, and k."""
    labels = np.asarray(y)
    if labels.shape != (n,) or not n or labels.dtype.kind not in "iub":
        raise InputError(
            f"labels: expected {n} integers, one for each row, got {labels.dtype} of shape {labels.shape}"
        )
    classes, codes = np.unique(labels, return_inverse=True)
    return codes, len(classes)
