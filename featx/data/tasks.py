"""Tasks: what is to be predicted of an image, a class or a number; and tasks made from columns of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from featx.data.labels import class_name, encode, is_missing, one_per_image
from featx.errors import DatasetError, InputError, UnknownName

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


# Where a value stands and what is wrong with it -> the error to raise.
Refuse = Callable[[int, str], DatasetError]


def class_task(name: str, values: Sequence[Any], refuse: Refuse, *, gaps: bool) -> Task:
    """A column of class names or whole numbers; with `gaps`, a missing one is no error."""
    present, names = [], []
    for i, value in enumerate(values):
        if is_missing(value) and gaps:
            continue
        found = None if is_missing(value) else class_name(value)
        if found is None:
            raise refuse(i, _problem(value, "a class name or a whole number"))
        present.append(i)
        names.append(found)
    labels = np.full(len(values), -1, np.int64)
    labels[present], classes = encode(names)
    return Task(name, labels, classes)


def number_task(name: str, values: Sequence[Any], refuse: Refuse, *, gaps: bool) -> Task:
    """A column of finite numbers; with `gaps`, a missing one is no error."""
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if is_missing(value) and gaps:
            continue
        number = None if is_missing(value) else _number(value)
        if number is None:
            raise refuse(i, _problem(value, "a finite number"))
        numbers[i] = number
    return Task(name, numbers)


def tasks_of(labels: Any, n: int, label: Any = None, target: Any = None) -> list[Task] | None:
    """The tasks of several columns in memory; None when `labels` is one column of labels.

    Parameters
    ----------
    labels : DataFrame, mapping of str to array-like of shape (n,), or array of shape (n, k)
        A column a task; those of an array are named by their number. A column of floats of which any is no
        whole number is a target, every other one is classes.
    n : int
        Number of images.
    label, target : str or sequence of str, optional
        Which columns are classes, and which are numbers; default: all, each by the rule above.

    Raises
    ------
    DatasetError
        Naming the column and the position of a value that is not what it should be.
    """
    columns = _columns(labels, n)
    if columns is None:
        if label is None and target is None:
            return None
        raise DatasetError(
            "label and target choose columns by name, and labels has none; "
            "give a data frame or a dict of columns"
        )
    check_asked(label, target)
    classes, numbers = names_of(label), names_of(target)
    for name in (*classes, *numbers):
        if name not in columns:
            raise DatasetError(f"labels: {UnknownName('column', name, columns)}")
    if not classes and not numbers:
        numbers = [name for name, values in columns.items() if _is_number(values)]
        classes = [name for name in columns if name not in numbers]
    gaps = len(classes) + len(numbers) > 1
    made = []
    for name in (name for name in columns if name in classes or name in numbers):

        def refuse(i: int, problem: str, name: str = name) -> DatasetError:
            return DatasetError(f"labels, column {name}, [{i}]: {problem}")

        make = class_task if name in classes else number_task
        made.append(make(name, columns[name], refuse, gaps=gaps))
    return made


def check_not_empty(tasks: Sequence[Task], place: str) -> None:
    """Refuse a task in which no image has a value.

    Raises
    ------
    DatasetError
    """
    for task in tasks:
        if not task.present.any():
            raise DatasetError(f"{place}: no image has a value in column {task.name}")


def _columns(labels: Any, n: int) -> dict[str, list[Any]] | None:
    if isinstance(labels, Mapping):
        found = {str(name): one_per_image(values, n, f"labels[{name!r}]") for name, values in labels.items()}
    elif hasattr(labels, "columns") and hasattr(labels, "__getitem__"):  # a data frame
        names = [str(name) for name in labels.columns]
        if len(set(names)) != len(names):
            raise DatasetError("labels: two columns of the data frame have the same name")
        found = {str(name): one_per_image(labels[name], n, f"labels[{name!r}]") for name in labels.columns}
    elif getattr(labels, "ndim", 1) == 2:
        array = np.asarray(labels)
        found = {str(k): one_per_image(array[:, k], n, f"labels[:, {k}]") for k in range(array.shape[1])}
    else:
        return None
    if not found:
        raise DatasetError("labels: there is no column in it")
    return found


def _is_number(values: Sequence[Any]) -> bool:
    floats = [v for v in values if not is_missing(v)]
    return (
        bool(floats)
        and all(isinstance(v, (float, np.floating)) for v in floats)
        and not all(math.isfinite(v) and float(v).is_integer() for v in floats)
    )


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _problem(value: Any, expected: str) -> str:
    if is_missing(value):
        return f"no value; expected {expected} (only of several columns may one be blank)"
    return f"expected {expected}, got {value!r}"
