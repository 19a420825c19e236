"""Embeddings in memory, with ids, labels, splits and groups; and a check that they can be learned from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from featx.cache.identity import Space
from featx.data.collection import Collection
from featx.data.features.writing import encoded, write_features
from featx.data.labels import SPLITS
from featx.data.tasks import LABEL, Task, check_targets
from featx.errors import CacheError, FeaturesError, InputError
from featx.options import checked

__all__ = ["Failure", "Features", "check_rows"]


@dataclass(frozen=True)
class Failure:
    """An image that could not be read: its id, and why in a few words."""

    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.id}: {self.reason}"


@dataclass(repr=False)
class Features(Collection):
    """Embeddings of a collection, with labels, splits and groups where they are known.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d), dtype float32 or float16
        Row i is image i.
    ids : sequence of n str
        Unique: the path relative to the root, or the id given.
    labels : array-like of shape (n,), integer, optional
        Index into `classes`; kept as int64.
    classes : sequence of str, optional
        Names of the classes, unique; only with labels.
    splits : array-like of n str, optional
        Each ``"train"``, ``"val"`` or ``"test"``.
    groups : array-like of shape (n,), optional
        Strings or integers (kept as strings): rows of one group belong on the same side of a split.
    failures : sequence of Failure
        Images of the collection that could not be read and have no row.
    space : mapping
        What determines the rows: network, weights, preprocessing, ..., as JSON data.
    about : dict
        What is known of the network and changes no row, such as the ``licence`` of its weights.
    run : dict, optional
        Cost of the extraction (``forward_passes``, ``seconds``, ...); not saved.
    targets : dict of str to Task
        Further tasks (classes or numbers); an image may have no value in one.
    label_name : str, default="label"
        Name of the labels among the `tasks`.

    Raises
    ------
    FeaturesError
        If the parts do not fit one another, naming the part.
    """

    embeddings: np.ndarray
    ids: list[str]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    splits: np.ndarray | None = None
    groups: np.ndarray | None = None
    failures: list[Failure] = field(default_factory=list)
    space: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict, kw_only=True)
    run: dict[str, Any] | None = None
    targets: dict[str, Task] = field(default_factory=dict)
    label_name: str = LABEL
    _error: ClassVar[type[InputError]] = FeaturesError

    def __post_init__(self) -> None:
        self.embeddings = np.asarray(self.embeddings)
        if self.embeddings.ndim != 2 or self.embeddings.shape[1] < 1:
            raise FeaturesError(f"embeddings of shape {self.embeddings.shape}: expected (n, d) with d >= 1")
        native = self.embeddings.dtype.newbyteorder("=")
        if native not in (np.float32, np.float16):
            raise FeaturesError(f"embeddings of dtype {self.embeddings.dtype}: expected float32 or float16")
        self.embeddings = self.embeddings.astype(native, copy=False)
        n = len(self.embeddings)
        self.ids = _strings("ids", self.ids, n)
        if len(set(self.ids)) != n:
            seen: set[str] = set()
            twice = next(id for id in self.ids if id in seen or seen.add(id))  # type: ignore[func-returns-value]
            raise FeaturesError(f"ids: {twice!r} comes twice, expected unique ids")
        if self.classes is not None:
            self.classes = tuple(_strings("classes", self.classes))
            if len(set(self.classes)) != len(self.classes):
                raise FeaturesError("classes: a name comes twice, expected unique names")
            if self.labels is None:
                raise FeaturesError("classes without labels: expected both or neither")
        if self.labels is not None:
            self.labels = _checked_labels(self.labels, n, self.classes)
        if self.splits is not None:
            self.splits = np.array(_strings("splits", self.splits, n), dtype=np.str_)
            unknown = sorted(set(self.splits.tolist()) - set(SPLITS))
            if unknown:
                raise FeaturesError(f"splits: {unknown[0]!r} is not one of {', '.join(SPLITS)}")
        if self.groups is not None:
            self.groups = np.array(_strings("groups", _as_text(self.groups), n), dtype=np.str_)
        if not isinstance(self.failures, (list, tuple)):
            raise FeaturesError(f"failures: expected a list, got {type(self.failures).__name__}")
        self.failures = list(self.failures)
        if wrong := [one for one in self.failures if not isinstance(one, Failure)]:
            raise FeaturesError(f"failures: expected Failure(id, reason), got {wrong[0]!r}")
        try:
            self.targets = check_targets(None if self.labels is None else self.label_name, self.targets, n)
            for task in self.targets.values():
                _strings(f"classes of {task.name}", [task.name, *(task.classes or ())])
        except FeaturesError:
            raise
        except InputError as error:
            raise FeaturesError(str(error)) from error
        for name in ("space", "about"):
            try:
                setattr(self, name, Space(getattr(self, name)).fields)
            except CacheError as error:
                raise FeaturesError(f"{name}: {error}") from error

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def dim(self) -> int:
        """Values per row."""
        return int(self.embeddings.shape[1])

    def subset(self, indices: Any) -> Features:
        """Return copies of the rows at `indices` (whole numbers or a mask), in that order, with all classes.

        Failures, space and run stay as they are.
        """
        rows = self._row_numbers(indices)
        return self._take(rows, embeddings=self.embeddings[rows], ids=[self.ids[i] for i in rows.tolist()])

    @checked(path="file")
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one HDF5 file, durably; an older file of that name is replaced.

        Parameters
        ----------
        path : path-like
            Its folder must exist.

        Raises
        ------
        OutputError
            If it cannot be written; the older file is then still there.
        """
        write_features(self, path)


def check_rows(rows: np.ndarray, ids: Sequence[str], place: str) -> list[str]:
    """Refuse embeddings (n, d) that no classifier can use; return a note if some rows are zero.

    Raises
    ------
    InputError
        Beginning with `place`: a value is not finite, or all rows are the same.
    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(
            f"{place}: row {bad[0]} ({ids[bad[0]]}) has values that are not finite ({len(bad)} in "
            "all); leave such rows out with Features.subset, or extract them again with precision fp32"
        )
    if len(rows) > 1 and (rows == rows[0]).all():
        what = "zero" if not rows[0].any() else "the same"
        raise InputError(
            f"{place}: the embeddings of all {len(rows)} images are {what}, so nothing can be told from "
            "them; check the weights, the layer and the images"
        )
    zero = np.flatnonzero(~rows.any(axis=1))
    if not len(zero):
        return []
    return [
        f"{place}: the embeddings of {len(zero)} of {len(rows)} images are zero in every value, the first "
        f"that of {ids[zero[0]]}: the network sees nothing in them"
    ]


def _strings(name: str, values: Any, n: int | None = None) -> list[str]:
    if isinstance(values, str | bytes) or np.ndim(values) == 0:
        raise FeaturesError(f"{name} is one {type(values).__name__}: expected a sequence of strings")
    strings = [str(value) if isinstance(value, np.str_) else value for value in values]
    if n is not None and len(strings) != n:
        raise FeaturesError(f"{name} has {len(strings)} entries for {n} embeddings")
    for i, value in enumerate(strings):
        if not isinstance(value, str):
            raise FeaturesError(f"{name}[{i}] is a {type(value).__name__}: expected a string")
        if "\0" in value:
            raise FeaturesError(f"{name}[{i}] is {value!r}: a NUL character cannot be stored")
        if value.isascii():
            continue
        try:
            encoded(value)
        except UnicodeEncodeError as error:
            raise FeaturesError(f"{name}[{i}] is {value!r}: not valid Unicode") from error
    return strings


def _as_text(groups: Any) -> Any:
    array = np.asarray(groups)
    return (
        [str(value) for value in array.tolist()] if array.ndim == 1 and array.dtype.kind in "iu" else groups
    )


def _checked_labels(labels: Any, n: int, classes: tuple[str, ...] | None) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (n,) or (labels.dtype.kind not in "iu" and n):
        raise FeaturesError(
            f"labels of shape {labels.shape} and dtype {labels.dtype}: expected integers of shape ({n},)"
        )
    if n and (labels.min() < 0 or int(labels.max()) > np.iinfo(np.int64).max):
        raise FeaturesError(f"labels: {labels.min()} is not the index of a class, expected 0 or more")
    if n and classes is not None and labels.max() >= len(classes):
        raise FeaturesError(f"labels: {labels.max()} with {len(classes)} classes")
    return labels.astype(np.int64)
