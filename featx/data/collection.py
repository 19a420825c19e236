"""The base class of `Dataset` and `Features`: tasks, rows and a short description."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from featx.data.tasks import LABEL, Task, choose_tasks
from featx.errors import InputError
from featx.results.shown import Shown
from featx.terminal import printable, shortened

Divided = TypeVar("Divided", bound="Collection")
# How many classes a description names, and the most characters of one fact in it.
_NAMED, _MOST = 5, 80


class Collection(Shown):
    """Rows with labels, splits, groups and further targets, where they are known."""

    # None if an input lacks a label: the labels are then one of the `targets`, which may have gaps.
    labels: np.ndarray | None
    classes: tuple[str, ...] | None
    splits: np.ndarray | None
    groups: np.ndarray | None
    targets: dict[str, Task]
    label_name: str
    #: The error that a subclass raises.
    _error: ClassVar[type[InputError]] = InputError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """The kind of the inputs, such as ``"image"``."""
        raise NotImplementedError

    def _facts(self) -> dict[str, str]:
        return {about: shortened(printable(text), _MOST) for about, text in _describe(self).items()}

    @property
    def tasks(self) -> dict[str, Task]:
        """All tasks by name: the labels first, if there are any, then the `targets`."""
        if self.labels is None or self.classes is None:
            return dict(self.targets)
        return {self.label_name: Task(self.label_name, self.labels, self.classes), **self.targets}

    def with_tasks(self, tasks: Iterable[Task]) -> Self:
        """Return the same inputs with these tasks.

        The first task of classes that has a value for every input becomes the labels.
        """
        tasks = list(tasks)
        first = next((task for task in tasks if task.classes is not None and task.present.all()), None)
        return replace(  # type: ignore[type-var]
            self,
            labels=None if first is None else first.values,
            classes=None if first is None else first.classes,
            targets={task.name: task for task in tasks if task is not first},
            label_name=LABEL if first is None else first.name,
        )

    def labelled(self) -> Self:
        """Return the inputs with a value in some task; all of them if there is no task.

        If the labels are the only task, the inputs returned all have one, and so the attribute `labels`.
        """
        tasks, present = list(self.tasks.values()), self._has_value()
        if not tasks or (present.all() and self.labels is not None):
            return self
        rows = np.flatnonzero(present)
        return self.subset(rows).with_tasks([task.subset(rows) for task in tasks])

    def _has_value(self) -> np.ndarray:
        """Return whether each input has a value in some task; True for all if there is no task."""
        present = [task.present for task in self.tasks.values()]
        found: np.ndarray = np.any(present, axis=0) if present else np.ones(len(self), bool)
        return found

    def subset(self, indices: Any) -> Self:
        """Return the rows at `indices` (whole numbers or a mask), in that order, with all classes."""
        raise NotImplementedError

    def select(self, label: Any = None, target: Any = None) -> Self:
        """Return the same inputs with only these tasks.

        Parameters
        ----------
        label, target : str or sequence of str, optional
            Names of tasks of classes, and of numbers.

        Raises
        ------
        DatasetError, FeaturesError
            If there is no such task, or it is of the other kind.
        """
        if label is None and target is None:
            return self
        try:
            return self.with_tasks(choose_tasks(self.tasks, label, target, getattr(self, "name", "features")))
        except InputError as error:
            raise self._error(str(error)) from error

    def _row_numbers(self, indices: Any) -> np.ndarray:
        """Return whole numbers or a mask as row numbers, int64."""
        chosen = np.asarray(indices)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise self._error(
                    f"subset: got a mask of shape {chosen.shape} for {len(self)} rows; "
                    f"the mask must have shape ({len(self)},)"
                )
            return np.flatnonzero(chosen)
        if chosen.size and chosen.dtype.kind not in "iu":
            raise self._error(f"subset: expected whole numbers or a mask, got dtype {chosen.dtype}")
        if chosen.ndim != 1:
            raise self._error(f"subset: expected a list of row numbers, got an array of shape {chosen.shape}")
        return chosen.astype(np.int64)

    def _take(self, rows: np.ndarray, **columns: Any) -> Self:
        """Return a copy with the labels, splits, groups and targets of these rows, and with `columns`."""
        for name in ("labels", "splits", "groups"):
            values = getattr(self, name)
            columns[name] = None if values is None else values[rows]
        targets = {name: task.subset(rows) for name, task in self.targets.items()}
        return replace(self, targets=targets, **columns)  # type: ignore[type-var]


def without_split(collection: Divided, place: str) -> Divided:
    """Return a collection without its split, so that one is drawn by its groups; an error without groups."""
    if collection.groups is None:
        raise collection._error(f"{place}: {lack_of_groups()}")
    return collection if collection.splits is None else replace(collection, splits=None)  # type: ignore[type-var]


def lack_of_groups(columns: Sequence[str] = ()) -> str:
    """Say that a split by group needs groups; `columns` would do for them."""
    hint = ""
    if columns:
        named = " or ".join(map(repr, columns))
        hint = f"; {named} would do: group={columns[0]!r} (--group {shlex.quote(columns[0])})"
    return (
        "split_by='group' (--split-by group) needs groups, and there are none; group (--group) names the "
        f"column of groups in a table{hint}"
    )


def _describe(collection: Collection) -> dict[str, str]:
    """Return what is known of a collection, for its `repr` and for a notebook."""
    facts = {"name": name} if (name := getattr(collection, "name", "")) else {}
    facts[f"{collection.kind}s"] = f"{len(collection):,}"
    if (rows := getattr(collection, "embeddings", None)) is not None:
        facts["values"] = f"{rows.shape[1]:,}, {rows.dtype}"
        network = getattr(collection, "space", {}).get("backbone")
        if isinstance(network, Mapping) and "architecture" in network:
            facts["backbone"] = str(network["architecture"])
    if collection.classes is not None:
        more = ", ..." if len(collection.classes) > _NAMED else ""
        facts["classes"] = f"{len(collection.classes):,} ({', '.join(collection.classes[:_NAMED])}{more})"
    if collection.splits is not None:
        names, counts = np.unique(collection.splits, return_counts=True)
        facts["splits"] = ", ".join(f"{name} {n:,}" for name, n in zip(names, counts.tolist(), strict=True))
    if collection.groups is not None:
        facts["groups"] = f"{len(np.unique(collection.groups)):,}"
    if collection.targets:
        facts["targets"] = ", ".join(collection.targets)
    if failures := getattr(collection, "failures", None):
        facts["failures"] = f"{len(failures):,}"
    return facts
