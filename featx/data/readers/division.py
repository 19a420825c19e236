"""Divide the rows of a table by its columns of splits and groups, and by the recordings of segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.data.collection import lack_of_groups
from featx.data.labels import class_name, is_missing, parse_each, parse_groups, same_form, split_name
from featx.data.readers.known_columns import SHARED_KEYS
from featx.data.readers.tabular import Table, Wanted
from featx.data.splits import BY_GROUP
from featx.errors import DatasetError, UnknownName
from featx.inputs import Source
from featx.kinds import count_of

#: What groups are called that are the recordings of segments.
RECORDING = "recording"


@dataclass
class Division:
    """The split and group of each row, columns that could be groups, and what to say of them."""

    splits: np.ndarray | None = None
    groups: np.ndarray | None = None
    group_name: str | None = None
    group_like: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def divide_rows(table: Table, wanted: Wanted, inputs: Sequence[Source]) -> Division:
    """Return how the rows of a table, whose inputs are these, are divided; `DatasetError` as `read_table`."""
    found = Division()
    if wanted.split_by != "group":
        found.splits = _splits(table)
    elif "split" in table.columns:
        found.notes.append("the split of the data is not used: it is drawn by group")
    column = _group_column(table, wanted)
    if column:
        found.groups, found.group_name = _groups(table, column), column
        _check_groups(table, column, found)
    recordings = _recordings(inputs)
    if recordings is not None:
        _divide_recordings(table, wanted, recordings, found)
    if wanted.split_by == "group" and found.groups is None:
        raise DatasetError(f"{table.place}: {lack_of_groups(_group_like(table, wanted))}")
    for name in _group_like(table, wanted):
        if name != column:
            _keep_shared(found, name, table.columns[name])
    return found


def _keep_shared(found: Division, name: str, values: Sequence[Any]) -> None:
    """Keep a column that is not the groups, if some rows share a value of it, and not all."""
    names = ["" if is_missing(value) else class_name(value) or str(value) for value in values]
    distinct = set(names) - {""}
    if 1 < len(distinct) < sum(map(bool, names)):
        found.group_like[name] = np.array(names, dtype=object)


def _group_like(table: Table, wanted: Wanted) -> list[str]:
    used = (*wanted.labels, *wanted.targets, table.input_column)
    return [name for name in SHARED_KEYS if name in table.columns and name not in used]


def _group_column(table: Table, wanted: Wanted) -> str:
    """Return the column of groups; ``""`` without one."""
    if wanted.group is None:
        return "group" if "group" in table.columns else ""
    column = same_form(wanted.group)
    if column not in table.columns:
        unknown = UnknownName("column", column, table.found)
        raise DatasetError(f"{table.place}: {unknown}; group (--group) names one")
    if column == table.input_column:
        raise DatasetError(f"{table.place}: column {column} is the inputs, and cannot be their groups, too")
    return column


def _splits(table: Table) -> np.ndarray | None:
    values = table.columns.get("split")
    if values is None:
        return None
    if error := table.missing("split"):
        raise error

    def refuse(i: int, value: Any) -> DatasetError:
        return table.error("split", i, f"unknown split {value!r}; expected train, val or test")

    return np.array(parse_each(values, split_name, refuse), dtype="U5")


def _groups(table: Table, column: str) -> np.ndarray:
    if error := table.missing(column):
        raise error
    return parse_groups(table.columns[column], len(table.rows))


def _check_groups(table: Table, column: str, found: Division) -> None:
    """Refuse a group on both sides: a classifier could recognise the group instead of the class."""
    splits, groups = found.splits, found.groups
    if splits is None or groups is None:
        return
    trained = {group: i for i, group in enumerate(groups.tolist()) if splits[i] != "test"}
    for i, group in enumerate(groups.tolist()):
        if splits[i] == "test" and group in trained:
            other = trained[group]
            raise table.error(
                column,
                i,
                f"group {group!r} is in test here and in {splits[other]} in row {table.rows[other]}; "
                f"a group must not be on both sides; {BY_GROUP}",
            )


def _recordings(inputs: Sequence[Source]) -> list[str] | None:
    """Return the file of every clip; None unless several clips are segments of one file."""
    if not inputs or any(source.kind != "clip" for source in inputs):
        return None
    paths = [str(getattr(source, "path", source.id)) for source in inputs]
    return paths if len(set(paths)) < len(paths) else None


def _divide_recordings(table: Table, wanted: Wanted, paths: list[str], found: Division) -> None:
    """Make recordings the groups if the table has neither groups nor a split; else keep them as a column."""
    counts = Counter(paths)
    if found.groups is None and found.splits is None and wanted.split_by != "none" and len(counts) > 1:
        names = _shortest_names(table, paths)
        found.groups, found.group_name = np.array(names), RECORDING
        found.notes.append(
            f"{count_of(len(paths), 'segment')} of {count_of(len(counts), 'recording')}: those of one "
            "recording stay on one side of a split; group (--group) names other groups, and --split-by none "
            "(split_by='none') divides them without regard to recordings"
        )
        return
    if len(counts) == 1:
        found.notes.append(
            f"all {count_of(len(paths), 'segment')} are of one recording, so training and test share it"
        )
    elif RECORDING not in table.columns:
        _keep_shared(found, RECORDING, paths)


def _shortest_names(table: Table, paths: list[str]) -> list[str]:
    """Return the files as the table names them; one name for each file."""
    names: dict[str, str] = {}
    for path, value in zip(paths, table.columns[table.input_column], strict=True):
        names.setdefault(path, str(value))
    return [names[path] for path in paths]
