"""Join features with other features, and with a table of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.cache.identity import Space
from featx.data.labels import class_name, is_missing, list_per_input, parse_groups, parse_splits
from featx.data.tasks import Task, make_tasks
from featx.errors import DatasetError, FeaturesError, InputError, UnknownName, as_one_error
from featx.kinds import with_article
from featx.options import shown

if TYPE_CHECKING:
    from featx.data.features.features import Features

#: The most ids that a message names.
_NAMED = 5


def concatenate(parts: Sequence[Features]) -> Features:
    """Return the rows of all parts; see `Features.concat`."""
    from featx.data.features.features import Features

    if isinstance(parts, Features) or not isinstance(parts, Iterable):
        raise FeaturesError(f"concat: parts must be a list of features, got {shown(parts)}")
    parts = list(parts)
    if not parts:
        raise FeaturesError("concat: no features were given")
    for i, part in enumerate(parts):
        if not isinstance(part, Features):
            raise FeaturesError(f"concat: expected Features, got {type(part).__name__} (number {i})")
    first = parts[0]
    for i, part in enumerate(parts[1:], 1):
        differ = Space(first.space).differences(
            Space(part.space), here="in the first", there=f"in number {i}"
        )
        if differ or part.dim != first.dim:
            why = "; ".join(differ) or f"{first.dim} and {part.dim} values a row"
            raise FeaturesError(f"concat: the features are not in one space: {why}")
    for name in ("splits", "groups"):
        lacking = [i for i, part in enumerate(parts) if getattr(part, name) is None]
        if 0 < len(lacking) < len(parts):
            raise FeaturesError(
                f"concat: number {lacking[0]} has no {name} and others have; give it some, or set {name} to "
                "None in the others"
            )
    numbered = [part.labels is not None and part.classes is None for part in parts]
    if any(numbered) and not all(numbered):
        raise FeaturesError(
            f"concat: number {numbered.index(True)} has labels without names of classes and others have not"
        )
    joined = Features(
        embeddings=np.concatenate([part.embeddings for part in parts]),
        ids=list(chain.from_iterable(part.ids for part in parts)),
        labels=np.concatenate([part.labels for part in parts]) if all(numbered) else None,  # type: ignore[misc]
        splits=_all_or_none([part.splits for part in parts]),
        groups=_all_or_none([part.groups for part in parts]),
        failures=list(chain.from_iterable(part.failures for part in parts)),
        space=first.space,
        about=first.about,
    )
    names = dict.fromkeys(chain.from_iterable(part.tasks for part in parts))
    return joined.with_tasks(_join_task(name, parts) for name in names) if names else joined


def _all_or_none(columns: list[np.ndarray | None]) -> np.ndarray | None:
    known = [column for column in columns if column is not None]
    return np.concatenate(known) if known else None


def _join_task(name: str, parts: Sequence[Features]) -> Task:
    """Join a task of several parts; its classes are united by name, and a part without it has no values."""
    known = [part.tasks[name] for part in parts if name in part.tasks]
    if len({task.kind for task in known}) > 1:
        raise FeaturesError(f"concat: {name} is numbers in some parts and classes in others")
    if known[0].classes is None:
        numbers = [
            part.tasks[name].values if name in part.tasks else np.full(len(part), np.nan) for part in parts
        ]
        return Task(name, np.concatenate(numbers))
    classes = tuple(dict.fromkeys(chain.from_iterable(task.classes or () for task in known)))
    codes = []
    for part in parts:
        task = part.tasks.get(name)
        # The last place is for images without a class, whose index is -1.
        places = [classes.index(one) for one in (task.classes or ())] if task is not None else []
        values = np.full(len(part), -1) if task is None else task.values
        codes.append(np.array([*places, -1], np.int64)[values])
    return Task(name, np.concatenate(codes), classes)


def merge_table(features: Features, table: Any, on: str, label: Any, target: Any, strict: bool) -> Features:
    """Return features with the columns of a table; see `Features.merge`."""
    if not isinstance(on, str):
        raise FeaturesError(f"merge: on must be the name of a column, got {shown(on)}")
    if not isinstance(strict, bool):
        raise FeaturesError(f"merge: strict must be True or False, got {shown(strict)}")
    if features.labels is not None and features.classes is None:
        raise FeaturesError("merge: the labels have no names of classes; set classes first")
    columns = _columns_of(table, on)
    keys = [_key(i, value, on) for i, value in enumerate(columns.pop(on))]
    rows = dict(zip(keys, range(len(keys)), strict=True))
    if len(rows) < len(keys):
        twice = next(key for i, key in enumerate(keys) if rows[key] != i)
        raise FeaturesError(f"merge: {on} {twice!r} comes twice in the table")
    if not columns:
        raise FeaturesError(f"merge: the table has no column besides {on!r}")
    known = set(features.ids)
    unknown = [key for key in keys if key not in known]
    absent = [id for id in features.ids if id not in rows]
    if len(absent) == len(features) and absent:
        raise FeaturesError(
            f"merge: no {on} of the table ({_some(keys)}) is the id of {with_article(features.kind)} "
            f"({_some(absent)})"
        )
    if strict and unknown:
        raise FeaturesError(
            f"merge: no {features.kind} has the {on} {_some(unknown)}; strict=False leaves such rows out"
        )
    if strict and absent:
        raise FeaturesError(f"merge: the table lacks {_some(absent)}; with strict=False they have no value")
    # Only images with a row in the table are looked at; the others get no value.
    at = np.array([i for i, id in enumerate(features.ids) if id in rows], np.int64)
    order = [rows[features.ids[i]] for i in at]
    placed = {name: [values[i] for i in order] for name, values in columns.items()}
    changed: dict[str, Any] = {}
    try:
        for name, parse in (("split", parse_splits), ("group", parse_groups)):
            if name in placed:
                if absent:
                    raise FeaturesError(f"merge: the table lacks the {name} of {_some(absent)}")
                changed[f"{name}s"] = parse(placed.pop(name), len(at))
        made = make_tasks(placed, len(at), label, target) if placed else []
    except FeaturesError:
        raise
    except InputError as error:
        raise FeaturesError(f"merge: {error}") from error
    merged = replace(features, **changed)
    new = {task.name: _spread(task, at, len(features)) for task in made or []}
    return merged.with_tasks({**features.tasks, **new}.values()) if new else merged


def _columns_of(table: Any, on: str) -> dict[str, list[Any]]:
    """Return the columns of a data frame (with a named index) or a mapping as lists."""
    if not isinstance(table, Mapping) and not hasattr(table, "columns"):
        raise FeaturesError(f"merge: expected a data frame or a dict of columns, got {type(table).__name__}")
    if hasattr(table, "reset_index") and on not in table.columns and on in table.index.names:
        table = table.reset_index()
    names = list(table) if isinstance(table, Mapping) else list(table.columns)
    if on not in names:
        raise FeaturesError(f"merge: {UnknownName('column', on, [str(name) for name in names])}")
    n = len(table[on]) if hasattr(table[on], "__len__") else 0
    with as_one_error(lambda reason: FeaturesError(f"merge: {reason}")):
        try:
            return {str(name): list_per_input(table[name], n, f"column {name}") for name in names}
        except DatasetError as error:
            raise FeaturesError(f"merge: {error}") from error


def _key(i: int, value: Any, on: str) -> str:
    name = None if is_missing(value) else value if isinstance(value, str) else class_name(value)
    if name is None:
        raise FeaturesError(f"merge: column {on}, [{i}] is {shown(value)}; expected an id")
    return str(name)


def _spread(task: Task, at: np.ndarray, n: int) -> Task:
    """Return the task of n images, of which only those `at` have values."""
    values = np.full(n, np.nan if task.classes is None else -1, task.values.dtype)
    values[at] = task.values
    return Task(task.name, values, task.classes)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(map(repr, ids[:_NAMED])) + more
