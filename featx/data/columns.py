"""From columns of labels and numbers, in a table or in memory, to tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from featx.data.labels import class_name, encode, is_missing, one_per_image
from featx.data.tasks import Task, check_asked, names_of
from featx.errors import DatasetError, UnknownName

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
