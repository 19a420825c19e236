"""What may be asked about an image: its class by one label, or a number; several of these make tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from featx.errors import InputError, UnknownName

#: What the one task of a collection is called that gives no name.
LABEL = "label"


@dataclass(frozen=True, eq=False)
class Task:
    """One value an image, where there is one.

    Parameters
    ----------
    name : str
        The column.
    values : ndarray of shape (n,)
        With `classes`, int64 indices into them, and -1 where an image has no class. Without, float64, and
        NaN where an image has no number.
    classes : tuple of str or None
        Names of the classes, distinct.

    Raises
    ------
    InputError
        If a value is impossible, naming the task.
    """

    name: str
    values: np.ndarray
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if not isinstance(self.name, str) or not self.name or "\0" in self.name:
            raise InputError(f"a task needs a name (a text), got {self.name!r}")
        if values.ndim != 1:
            raise InputError(f"{self.name}: expected one value for each image, got shape {values.shape}")
        if self.classes is None:
            if values.dtype.kind not in "fiu":
                raise InputError(f"{self.name}: expected numbers, got dtype {values.dtype}")
            values = values.astype(np.float64)
            if np.isinf(values).any():
                row = int(np.argmax(np.isinf(values)))
                raise InputError(f"{self.name}: the value in row {row} (counted from 0) is not finite")
        else:
            classes = tuple(str(name) for name in self.classes)
            if len(set(classes)) != len(classes):
                raise InputError(f"{self.name}: two classes have the same name")
            if values.dtype.kind not in "iu" and values.size:
                raise InputError(f"{self.name}: expected indices of classes, got dtype {values.dtype}")
            values = values.astype(np.int64)
            if values.size and not (values.min() >= -1 and values.max() < len(classes)):
                wrong = values.min() if values.min() < -1 else values.max()
                raise InputError(f"{self.name}: {wrong} is no index into the {len(classes)} classes")
            object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def kind(self) -> Literal["classes", "number"]:
        """Whether images are told apart by class, or a number is predicted."""
        return "number" if self.classes is None else "classes"

    @property
    def present(self) -> np.ndarray:
        """Which images have a value, ndarray of shape (n,), bool."""
        return np.isfinite(self.values) if self.classes is None else self.values >= 0

    def subset(self, rows: np.ndarray) -> Task:
        """The task of some of the images, of the same classes."""
        return Task(self.name, self.values[rows], self.classes)

    def column(self) -> np.ndarray:
        """As a column for scikit-learn: class names (objects, None where absent), or float64."""
        if self.classes is None:
            return self.values
        return np.array([*self.classes, None], dtype=object)[self.values]


def all_tasks(
    label_name: str,
    labels: np.ndarray | None,
    classes: tuple[str, ...] | None,
    targets: Mapping[str, Task],
) -> dict[str, Task]:
    """The tasks of a collection by name, that of its labels first."""
    if labels is None or classes is None:
        return dict(targets)
    return {label_name: Task(label_name, labels, classes), **targets}


def check_targets(label_name: str | None, targets: Mapping[str, Task], n: int) -> dict[str, Task]:
    """`targets` as a dict, each under its own name and of `n` values.

    Raises
    ------
    InputError
        If one is not, or is named as the labels are.
    """
    if not isinstance(targets, Mapping):
        raise InputError(f"targets: expected a dict of tasks, got {type(targets).__name__}")
    if label_name is not None and (not isinstance(label_name, str) or not label_name):
        raise InputError(f"label_name must be a name, got {label_name!r}")
    for name, task in targets.items():
        if not isinstance(task, Task) or task.name != name:
            raise InputError(f"targets: expected tasks under their own names, got {task!r} under {name!r}")
        if len(task) != n:
            raise InputError(f"targets: {name} has {len(task)} values for {n} images")
        if name == label_name:
            raise InputError(f"targets: {name} is already the name of the labels")
    return dict(targets)


def divide(tasks: Iterable[Task]) -> tuple[Task | None, dict[str, Task]]:
    """The task that is the labels, which is the first of classes that has one for every image; the others."""
    tasks = list(tasks)
    first = next((task for task in tasks if task.classes is not None and task.present.all()), None)
    return first, {task.name: task for task in tasks if task is not first}


def names_of(asked: str | Iterable[str] | None) -> list[str]:
    """One name or several as a list."""
    return [] if asked is None else [asked] if isinstance(asked, str) else list(asked)


def choose(tasks: Mapping[str, Task], label: Any, target: Any, place: str) -> list[Task]:
    """The tasks asked for; all of them when none is.

    Parameters
    ----------
    tasks : mapping of str to Task
        Those that there are.
    label, target : str, sequence of str or None
        Names of tasks of classes, and of numbers.
    place : str
        The file, for messages.

    Raises
    ------
    InputError
        If there is none of that name, or it is of the other kind.
    """
    check_asked(label, target)
    chosen = []
    for names, kind, word, other in (
        (names_of(label), "classes", "label", "target"),
        (names_of(target), "number", "target", "label"),
    ):
        for name in names:
            if name not in tasks:
                raise InputError(f"{place}: {UnknownName(word, name, tasks)}")
            if tasks[name].kind != kind:
                held = "classes" if tasks[name].kind == "classes" else "numbers"
                raise InputError(f"{place}: {name} holds {held}; ask for it as a {other}")
            chosen.append(tasks[name])
    return chosen or list(tasks.values())


def check_asked(label: Any, target: Any) -> None:
    """Refuse a column that is asked for twice.

    Raises
    ------
    InputError
    """
    names = [*names_of(label), *names_of(target)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"column {twice[0]!r} is asked for twice; each is one label or one target")
