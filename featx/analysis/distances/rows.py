"""What the distances ask of their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import InputError


def rows_of(X: Any, name: str, least: int = 2) -> np.ndarray:
    """Rows in float64; `InputError` where they are no finite numbers (n, d), n at least `least`."""
    rows = np.asarray(X)
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.shape[1]:
        raise InputError(f"{name}: expected numbers of shape (n, d), got {rows.dtype} of shape {rows.shape}")
    if len(rows) < least:
        raise InputError(f"{name}: at least {least} rows are needed, got {len(rows)}")
    rows = rows.astype(np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(f"{name}: row {int(np.argmin(finite))} is not finite")
    return rows


def two_sets(X: Any, Y: Any, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of rows of one width."""
    x, y = rows_of(X, "the first set", least), rows_of(Y, "the second set", least)
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"the sets have rows of {x.shape[1]} and {y.shape[1]} values: embeddings of one space are needed"
        )
    return x, y
