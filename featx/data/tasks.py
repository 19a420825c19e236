"""Tasks: the classes or numbers to predict, and how columns of values become tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from featx.data.labels import class_name, encode, is_missing, list_per_input, parse_each
from featx.errors import DatasetError, InputError, UnknownName
from featx.options.checks import short
from featx.results.shown import Shown

#: Name of the labels if the data gives them none.
LABEL = "label"


@dataclass(frozen=True, eq=False)
class Task(Shown):
    """A class or a number for each input that has one.

    Parameters
    ----------
    name : str
        Name of the column.
    values : ndarray of shape (n,)
        With `classes`: int64 indices into them, -1 for an input without a class. Else float64, NaN for an
        input without a number.
    classes : tuple of str or None
        Names of the classes, distinct.

    Raises
    ------
    InputError
        If a value is not valid, naming the task.
    """

    name: str
    values: np.ndarray
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if not isinstance(self.name, str) or not self.name or "\0" in self.name:
            raise InputError(f"a task needs a name (a text), got {self.name!r}")
        if values.ndim != 1:
            raise InputError(f"{self.name}: expected one value for each input, got shape {values.shape}")
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
        """``"classes"`` or ``"number"``."""
        return "number" if self.classes is None else "classes"

    @property
    def present(self) -> np.ndarray:
        """The inputs that have a value, bool of shape (n,)."""
        return np.isfinite(self.values) if self.classes is None else self.values >= 0

    def subset(self, rows: np.ndarray) -> Task:
        """Return the task of the inputs `rows`, with the same classes."""
        return Task(self.name, self.values[rows], self.classes)

    def column(self) -> np.ndarray:
        """Return a column for scikit-learn: class names (objects, None where absent), or float64."""
        if self.classes is None:
            return self.values
        return np.array([*self.classes, None], dtype=object)[self.values]


def check_targets(label_name: str | None, targets: Mapping[str, Task], n: int) -> dict[str, Task]:
    """Return `targets` as a dict; `InputError` if a name is wrong or taken, or a length is not `n`."""
    if not isinstance(targets, Mapping):
        raise InputError(f"targets: expected a dict of tasks, got {type(targets).__name__}")
    if label_name is not None and (not isinstance(label_name, str) or not label_name):
        raise InputError(f"label_name must be a name, got {label_name!r}")
    for name, task in targets.items():
        if not isinstance(task, Task) or task.name != name:
            raise InputError(f"targets: expected tasks under their own names, got {task!r} under {name!r}")
        if len(task) != n:
            raise InputError(f"targets: {name} has {len(task)} values for {n} inputs")
        if name == label_name:
            raise InputError(f"targets: {name} is already the name of the labels")
    return dict(targets)


def names_of(asked: str | Iterable[str] | None) -> list[str]:
    """Return one name, or several, as a list."""
    return [] if asked is None else [asked] if isinstance(asked, str) else list(asked)


def choose_tasks(tasks: Mapping[str, Task], label: Any, target: Any, place: str) -> list[Task]:
    """Return the tasks named by `label` (classes) and `target` (numbers); all of them if none is named.

    `InputError`, beginning with `place`, if there is no such task or it is of the other kind.
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
    """Raise `InputError` if a column is asked for twice."""
    names = [*names_of(label), *names_of(target)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"column {twice[0]!r} is asked for twice; each is one label or one target")


# Where a value stands and what is wrong with it -> the error to raise.
Refuse = Callable[[int, str], DatasetError]


def make_task(
    name: str, values: Sequence[Any], refuse: Refuse, *, numbers: bool = False, order: Sequence[str] = ()
) -> Task:
    """Make a task of a column: of finite numbers, or of class names and whole numbers.

    A value may be missing. `order` has the names of classes in their order, where that is known.
    """
    parse: Callable[[Any], Any] = _number if numbers else class_name
    rows = [i for i, value in enumerate(values) if not is_missing(value)]
    expected = "a finite number" if numbers else "a class name or a whole number"

    def refuse_row(k: int, value: Any) -> DatasetError:
        return refuse(rows[k], f"expected {expected}, got {short(value)}")

    parsed = parse_each([values[i] for i in rows], parse, refuse_row)
    if numbers:
        column = np.full(len(values), np.nan)
        column[rows] = parsed
        return Task(name, column)
    labels = np.full(len(values), -1, np.int64)
    present = set(parsed)
    labels[rows], classes = encode(parsed, [name for name in order if name in present] or None)
    return Task(name, labels, classes)


def make_tasks(labels: Any, n: int, label: Any = None, target: Any = None) -> list[Task] | None:
    """Make a task of each of several columns in memory; return None if `labels` is one column.

    `labels` is a data frame, a mapping of names to columns, or an array (n, k) whose columns are named by
    number. `label` names the columns of classes, `target` those of numbers. If neither is given, a column of
    floats with any fraction is numbers, and every other one is classes.
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
    return [
        make_task(name, values, partial(_column_error, name), numbers=name in numbers)
        for name, values in columns.items()
        if name in classes or name in numbers
    ]


def _column_error(name: str, i: int, problem: str) -> DatasetError:
    return DatasetError(f"labels, column {name}, [{i}]: {problem}")


def check_not_empty(tasks: Sequence[Task], place: str) -> None:
    """Raise `DatasetError` if no input has a value in one of the tasks."""
    for task in tasks:
        if not task.present.any():
            raise DatasetError(f"{place}: no input has a value in column {task.name}")


def _columns(labels: Any, n: int) -> dict[str, list[Any]] | None:
    if isinstance(labels, Mapping):
        found = {str(name): list_per_input(values, n, f"labels[{name!r}]") for name, values in labels.items()}
    elif hasattr(labels, "columns") and hasattr(labels, "__getitem__"):  # a data frame
        names = [str(name) for name in labels.columns]
        if len(set(names)) != len(names):
            raise DatasetError("labels: two columns of the data frame have the same name")
        found = {str(name): list_per_input(labels[name], n, f"labels[{name!r}]") for name in labels.columns}
    elif getattr(labels, "ndim", 1) == 2:
        array = np.asarray(labels)
        found = {str(k): list_per_input(array[:, k], n, f"labels[:, {k}]") for k in range(array.shape[1])}
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
    if isinstance(value, (bool, np.bool_)) or is_missing(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
