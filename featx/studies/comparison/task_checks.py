"""Check the tasks of a study before any work: labels, numbers that differ, and parts to train and test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from featx.data import Dataset, require_labelled
from featx.data.features import Features
from featx.data.splits import Split, make_splits
from featx.data.tasks import Task
from featx.errors import DatasetError, InputError
from featx.kinds import count_of
from featx.studies.comparison.tasks import name_folders

#: The fewest inputs with a number: two to train on and two to test on.
FEWEST_NUMBERS = 4


def check_seeds(splits: np.ndarray | None, seeds: int, place: str) -> None:
    """Refuse several seeds for data that comes with its own split."""
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InputError(f"seeds must be a positive whole number of splits, got {seeds!r}")
    if seeds > 1 and splits is not None and np.isin(splits, ("test", "val")).any():
        raise InputError(
            f"{place}: comes with its own split, so {seeds} splits cannot be drawn; leave out seeds, or give "
            "the data without its split"
        )


def inputs_of_task(dataset: Dataset, task: Task, rows: np.ndarray) -> Dataset:
    """Return the inputs of one task, with the task in the name that messages use."""
    named = replace(dataset.with_tasks([]), name=f"{dataset.name}, column {task.name}")
    return named.subset(rows).with_tasks([task.subset(rows)])


def check_dataset(dataset: Dataset, test_size: float, seed: int) -> None:
    """Refuse data that cannot be compared, before any input goes through a network."""
    tasks = dataset.tasks
    if len(tasks) > 1:
        name_folders(tasks)
    for task in tasks.values():
        if task.classes is None:
            _require_numbers(task, dataset.name, dataset.kind)
        elif len(tasks) > 1 or not task.present.all():
            require_labelled(inputs_of_task(dataset, task, np.flatnonzero(task.present)))
        else:
            require_labelled(dataset)
    if not tasks:
        require_labelled(dataset)
    check_splits(tasks, dataset.splits, dataset.groups, test_size, seed)


def check_splits(
    tasks: dict[str, Task],
    splits: np.ndarray | None,
    groups: np.ndarray | None,
    test_size: float,
    seed: int,
) -> None:
    """Refuse a task that cannot be split, before any work; each of several tasks gets its own split."""
    if len(tasks) < 2:
        return
    for task in tasks.values():
        rows = np.flatnonzero(task.present)
        given, together = (None if values is None else values[rows] for values in (splits, groups))
        try:
            split_task(task.subset(rows), given, together, test_size, [seed])
        except DatasetError as error:
            raise DatasetError(f"column {task.name}: {error}") from error


def split_task(
    task: Task,
    splits: np.ndarray | None,
    groups: np.ndarray | None,
    test_size: float,
    seeds: Sequence[int],
) -> list[Split]:
    """Split the inputs of a task once for each seed, stratified by class; of numbers, at random."""
    # Numbers have no classes to stratify by: all are given the same one.
    labels = task.values if task.classes is not None else np.zeros(len(task), np.int64)
    return make_splits(
        labels, splits=splits, groups=groups, test_size=test_size, seeds=seeds, classes=task.classes
    )


def check_features(features: Features, place: str) -> dict[str, Task]:
    """Return the tasks of features; refuse those that cannot be compared."""
    tasks = features.tasks
    if not tasks:
        raise DatasetError(f"{place}: has no labels; a comparison needs a labelled collection")
    if len(tasks) > 1:
        name_folders(tasks)
    for task in tasks.values():
        if task.classes is None:
            _require_numbers(task, place, features.kind)
        else:
            name = place if len(tasks) == 1 else f"{place}, column {task.name}"
            _require_classes(task, name, features.kind)
    return tasks


def _require_numbers(task: Task, place: str, kind: str) -> None:
    values = task.values[task.present]
    if len(values) < FEWEST_NUMBERS or values.min() == values.max():
        have = f"{count_of(len(values), kind)} {'has' if len(values) == 1 else 'have'} one"
        found = have if len(values) < FEWEST_NUMBERS else "all are alike"
        raise DatasetError(
            f"{place}, column {task.name}: at least {FEWEST_NUMBERS} {kind}s with numbers that differ are "
            f"needed; {found}"
        )


def _require_classes(task: Task, name: str, kind: str) -> None:
    classes = task.classes or ()
    counts = np.bincount(task.values[task.present], minlength=len(classes))
    if len(classes) < 2:
        only = f", {classes[0]!r}" if classes else ""
        raise DatasetError(f"{name}: has only one class{only}; a comparison needs two or more")
    if counts.min() < 2:
        raise DatasetError(
            f"{name}: class {classes[int(counts.argmin())]!r} has {count_of(int(counts.min()), kind)}; "
            "at least 2 are needed, to train on and to test on"
        )
