"""Check the arguments of a training: inputs, labels, positions and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from featx.errors import InputError
from featx.kinds import count_of


@dataclass(frozen=True)
class TrainingData:
    """The checked data of a training: labels (n,), positions `train` and `val`, embeddings (n, d).

    `val` may be empty.
    """

    images: Sequence[Any] | None
    labels: np.ndarray
    n_classes: int
    train: np.ndarray
    val: np.ndarray
    embeddings: np.ndarray | None
    kind: str = "image"

    @classmethod
    def checked(
        cls,
        images: Sequence[Any] | None,
        labels: Any,
        n_classes: int,
        train_idx: Any,
        val_idx: Any,
        embeddings: Any,
        dim: int,
        seed: int,
        kind: str = "image",
    ) -> TrainingData:
        """Check the arguments of `fine_tune`; an `InputError` names the one that does not fit."""
        if isinstance(n_classes, bool) or not isinstance(n_classes, Integral) or n_classes < 2:
            raise InputError(f"n_classes: expected a whole number of at least 2, got {n_classes!r}")
        if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
            raise InputError(f"seed: expected a whole number of at least 0, got {seed!r}")
        y = check_integers("labels", labels)
        n = len(y)
        if images is None and embeddings is None:
            raise InputError(f"fine-tuning needs {kind}s or embeddings, got neither")
        if images is not None and len(images) != n:
            raise InputError(
                f"expected as many labels as {kind}s, got {n} labels and {count_of(len(images), kind)}"
            )
        train = _check_positions("train_idx", train_idx, n)
        val = _check_positions("val_idx", () if val_idx is None else val_idx, n)
        if not len(train):
            raise InputError(f"train_idx: expected at least one {kind}, got none")
        both = np.intersect1d(train, val)
        if len(both):
            raise InputError(
                f"train_idx and val_idx share {count_of(len(both), kind)}, the first at position {both[0]}; "
                f"validate on {kind}s that are not trained on"
            )
        used = np.concatenate([train, val])
        wrong = used[(y[used] < 0) | (y[used] >= n_classes)]
        if len(wrong):
            raise InputError(
                f"labels: expected values from 0 to {n_classes - 1}, got {y[wrong[0]]} at position {wrong[0]}"
            )
        rows = None if embeddings is None else _check_embeddings(embeddings, n, dim, used)
        return cls(images, y, int(n_classes), train, val, rows, kind)

    def known_embeddings(self) -> np.ndarray:
        """Return the embeddings, which must be known by now."""
        assert self.embeddings is not None
        return self.embeddings

    def notes(self) -> list[str]:
        """Return what is unusual about the split, as sentences."""
        absent = np.setdiff1d(np.arange(self.n_classes), self.labels[self.train])
        found = []
        if len(absent):
            listed = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
            found.append(f"no training {self.kind} of {len(absent)} of {self.n_classes} classes ({listed})")
        if not len(self.val):
            found.append(f"no validation {self.kind}s: all epochs were run and the last one was kept")
        return found


def check_integers(name: str, values: Any) -> np.ndarray:
    """Return values as int64 of shape (n,), or raise an `InputError` that names the argument."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"{name}: expected a one-dimensional array of integers, got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)


def _check_positions(name: str, values: Any, n: int) -> np.ndarray:
    positions = check_integers(name, values)
    outside = positions[(positions < 0) | (positions >= n)]
    if len(outside):
        raise InputError(f"{name}: expected positions from 0 to {n - 1}, got {outside[0]}")
    once, counts = np.unique(positions, return_counts=True)
    if len(once) < len(positions):
        raise InputError(f"{name}: position {once[counts > 1][0]} is there more than once")
    return positions


def _check_embeddings(values: Any, n: int, dim: int, used: np.ndarray) -> np.ndarray:
    rows = np.asarray(values)
    if rows.ndim != 2 or rows.dtype.kind != "f" or rows.shape != (n, dim):
        raise InputError(
            f"embeddings: expected floats of shape ({n}, {dim}), got {rows.dtype} of shape {rows.shape}"
        )
    bad = used[~np.isfinite(rows[used]).all(axis=1)]
    if len(bad):
        raise InputError(f"embeddings: row {bad[0]} has values that are not finite")
    return rows
