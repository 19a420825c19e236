"""Make a dataset of columns of paths or texts, labels, splits and groups, from a file or from memory."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from featx.data.dataset import Dataset, check_evaluated_classes
from featx.data.labels import class_name, is_missing, parse_each, parse_groups, same_form, split_name
from featx.data.read_report import ReadReport, skip_hint
from featx.data.readers.folder_listing import PathFinder
from featx.data.readers.images import IMAGE_KEYS, make_sources
from featx.data.readers.text_column import COLUMNS, holds_texts, refuse_numbers, text_candidates
from featx.data.readers.texts import make_text_sources, problem_of
from featx.data.tasks import LABEL, Task, check_asked, check_not_empty, make_task, names_of
from featx.errors import DatasetError, ImageError, InputError, SourceError, TextError, UnknownName
from featx.inputs.image import FileImage
from featx.inputs.text import FileText, StringText, is_text_file
from featx.terminal import shortened

#: The most columns that a message names (a table of embeddings has a thousand), and letters of each.
_NAMED, _LETTERS = 20, 40
# A name of a column rarely has more words.
_WORDS_OF_NAMES = 3
_FRACTION = re.compile(r"[+-]?[0-9]*\.[0-9]*[1-9][0-9]*")


@dataclass
class Table:
    """The columns that are needed, from a file or from memory."""

    place: str  # the file, for messages
    folder: str  # what paths are relative to; empty for the working directory
    rows: list[Any]  # number for messages: the line of a .csv, from 1 in a .parquet, from 0 in memory
    columns: dict[str, list[Any]]  # `COLUMNS` and the chosen ones; image instead of path if it holds images
    found: list[str]  # names of all columns
    all_columns: Callable[[], Mapping[str, list[Any]]] = dict  # reads what could be labels, for a message
    orders: dict[str, Sequence[str]] = field(default_factory=dict)  # of the classes of a column
    text: str = ""  # the column of texts; empty for a table of images
    names: list[str] = field(default_factory=list)  # what rows are called, each its own; default: by number
    notes: list[str] = field(default_factory=list)  # for the user, on how it was read

    @property
    def input_column(self) -> str:
        """The name of the column of inputs: the one of texts, else path or image."""
        return self.text or ("image" if "image" in self.columns else "path")

    def error(self, column: str, i: int, problem: str) -> DatasetError:
        """Return an error that names row and column."""
        line = f"{self.place}, row {self.rows[i]}, column {column}: {problem}"
        return DatasetError(" ".join(line.splitlines()))  # a value may have several lines

    def missing(self, column: str) -> DatasetError | None:
        """Return an error on the first missing value of a column; None if it has none."""
        gaps = [i for i, value in enumerate(self.columns[column]) if is_missing(value)]
        if not gaps:
            return None
        more = f" (and {len(gaps) - 1} more row{'s' * (len(gaps) > 2)})" if len(gaps) > 1 else ""
        return self.error(column, gaps[0], f"no value{more}")

    def keep(self, kept: Sequence[int]) -> None:
        """Drop all rows but these."""
        self.rows = [self.rows[i] for i in kept]
        self.names = [self.names[i] for i in kept] if self.names else []
        self.columns = {name: [values[i] for i in kept] for name, values in self.columns.items()}


def check_asked_columns(place: str, label: Any, target: Any) -> list[str]:
    """Return the columns asked for; `DatasetError` if one is asked for twice."""
    try:
        check_asked(label, target)
    except InputError as error:
        raise DatasetError(f"{place}: {error}") from error
    return [same_form(name) for name in (*names_of(label), *names_of(target))]


def make_dataset(
    table: Table, name: str, *, labelled: bool, label: Any, target: Any, on_error: str
) -> Dataset:
    """Make a dataset of the rows of a table; parameters and errors as for `read_table`."""
    asked = check_asked_columns(table.place, label, target)
    notes = _check_columns(table, labelled and not asked, asked)
    if not table.rows:
        raise DatasetError(f"{table.place}: the table has no rows")
    inputs, failures = (_texts if table.text else _files)(table, on_error)
    splits = _splits(table)
    groups = _groups(table)
    _check_groups(table, splits, groups)
    reading = ReadReport(failures=tuple(failures), notes=(*table.notes, *notes))
    wanted = [[same_form(name) for name in names_of(names)] for names in (label, target)]
    tasks = _tasks(table, *wanted) if asked else _labels(table, labelled)
    dataset = Dataset(name, inputs, splits=splits, groups=groups, reading=reading).with_tasks(tasks)
    if len(tasks) <= 1:  # each of several tasks has its own images
        check_evaluated_classes(dataset.labelled(), table.place)
    return dataset


def label_candidates(columns: Mapping[str, list[Any]]) -> str:
    """Return a hint at columns that could be labels, because a few values repeat in them; or ""."""
    found = []
    for column, values in columns.items():
        present = [value for value in values if not is_missing(value)]
        names = [class_name(value) for value in present]
        fractions = sum(name is None or _FRACTION.fullmatch(name) is not None for name in names)
        distinct = len(set(names))
        if column.lower() in COLUMNS or column in IMAGE_KEYS or fractions or not present:
            continue
        if 2 <= distinct <= max(2, len(present) // 2):
            found.append((column, distinct))
    if not found:
        return ""
    named = " or ".join(f"{column!r} ({distinct} values)" for column, distinct in found[:4])
    return f"{named} would do: label={found[0][0]!r} (--label {shlex.quote(found[0][0])})"


def _check_columns(table: Table, labelled: bool, asked: list[str]) -> list[str]:
    """Refuse a table without a needed column; return a note if it has no labels and needs none."""
    lacking = [] if table.input_column in table.columns else ["path"]
    unlabelled = "label" not in table.columns and not asked
    if labelled and unlabelled:
        lacking.append("label")
    more = f" and {len(table.found) - _NAMED} more" if len(table.found) > _NAMED else ""
    found = ", ".join(shortened(name, _LETTERS) for name in table.found[:_NAMED]) + more or "none"
    hint = ""
    if unlabelled and lacking in ([], ["label"]):
        others = {name: values for name, values in table.all_columns().items() if name != table.text}
        hint = label_candidates(others)
    if lacking:
        inputs = "a text" if table.text else "path"
        if "path" in lacking:
            inputs = "path or text"
            hint = _hint_at_inputs(table, unlabelled and labelled)
        raise DatasetError(
            f"{table.place}: missing column {' and '.join(lacking)}; found: {found}; "
            f"expected {inputs}, label and optionally split and group"
            f"{hint and '; '}{hint}"
        )
    for column in asked:
        if column not in table.columns:
            raise DatasetError(f"{table.place}: {UnknownName('column', column, table.found)}")
        if column == table.text or (column.lower() in COLUMNS and column.lower() != LABEL):
            raise DatasetError(f"{table.place}: column {column} has a meaning of its own; it is no task")
    if unlabelled and len(table.found) > 1:
        return [f"no column label, so no labels; found: {found}{hint and '; '}{hint}"]
    return []


def _hint_at_inputs(table: Table, unlabelled: bool) -> str:
    """Return a hint at what a table without images and texts, and maybe without labels, may lack."""
    if any(len(name.split()) > _WORDS_OF_NAMES for name in table.found):
        return (
            "its first row is read as the header: if it is none, write one above it, such as text,label; "
            "else text (--text) names the column of texts"
        )
    hints = [f"rename {name!r} to path" for name in table.found if name.lower() in IMAGE_KEYS][:1]
    columns = table.all_columns()
    if texts := text_candidates(columns):
        others = {name: values for name, values in columns.items() if not holds_texts(values)}
        hints += [texts, label_candidates(others) if unlabelled else ""]
    return "; ".join(filter(None, hints)) or "text (--text) names a column of texts"


def _texts(table: Table, on_error: str) -> tuple[list[Any], list[SourceError]]:
    """Return the text of every row that has one, and the failures; drop the other rows from the table."""
    column = table.text
    texts = table.columns[column]
    refuse_numbers(table.place, column, texts, lambda: text_candidates(table.all_columns()))
    names = table.names or [str(row) for row in table.rows]
    reasons = {i: problem for i, text in enumerate(texts) if (problem := problem_of(text))}
    if reasons and on_error == "raise":
        first = next(iter(reasons))
        more = f" (and {len(reasons) - 1} more row{'s' * (len(reasons) > 2)})" if len(reasons) > 1 else ""
        raise table.error(column, first, f"{reasons[first]}{more}; {skip_hint('text')}")
    failures: list[SourceError] = [TextError(names[i], reason) for i, reason in reasons.items()]
    kept = [i for i in range(len(texts)) if i not in reasons]
    if not kept:
        raise DatasetError(f"{table.place}: no row has a text in column {column}; the first: {failures[0]}")
    table.keep(kept)
    return [StringText(names[i], str(texts[i])) for i in kept], failures


def _files(table: Table, on_error: str) -> tuple[list[Any], list[SourceError]]:
    """Return the image of every row that has one, and the failures; drop the other rows from the table.

    Where more than half of the paths are those of text files, the inputs are texts.
    """
    column = table.input_column
    finder = PathFinder()
    ids = [f"row {row}" for row in table.rows]
    images = list(table.columns[column])
    of_texts = sum(isinstance(value, str) and is_text_file(value) for value in images)
    kind = "text" if 2 * of_texts > len(images) else "image"
    tree = os.path.realpath(table.folder) if table.folder else None
    seen: dict[str, int] = {}
    reasons: dict[int, str] = {}
    for i, value in enumerate(images):
        if is_missing(value):
            reasons[i] = f"no value in column {column}"
        elif isinstance(value, (str, os.PathLike)):
            ids[i] = os.fspath(value) if isinstance(value, str) else os.fspath(value).replace(os.sep, "/")
            given = os.fspath(value) if table.folder else os.path.expanduser(value)
            path = finder.find(os.path.normpath(os.path.join(table.folder, given)))
            if path in seen:
                row = table.rows[seen[path]]
                raise table.error(column, i, f"{value} is already in row {row}; remove one of them")
            seen[path] = i
            images[i] = FileText(ids[i], path) if kind == "text" else FileImage(ids[i], path, tree=tree)
            if not os.path.isfile(path):
                reasons[i] = f"no such file: {path}"
        elif column == "path":
            raise table.error(column, i, f"expected text, got {value!r}")
    if reasons and on_error == "raise":
        raise DatasetError(
            f"{table.missing(column) or _missing_files(table, column, reasons)}; {skip_hint(kind)}"
        )
    kind_of_error = TextError if kind == "text" else ImageError
    failures: list[SourceError] = [kind_of_error(ids[i], reason) for i, reason in reasons.items()]
    kept = [i for i in range(len(images)) if i not in reasons]
    if not kept:
        missing = f"{table.place}: no row has {'a text' if kind == 'text' else 'an image'} that is there"
        raise DatasetError(f"{missing}; the first: {failures[0]}")
    table.keep(kept)
    ids = [
        ids[i] if isinstance(images[i], FileImage | FileText) else f"{table.rows[k]}"
        for k, i in enumerate(kept)
    ]
    where = f"{table.place}, column {column}"
    make = make_text_sources if kind == "text" else make_sources
    return make([images[i] for i in kept], where, ids, on_error=on_error), failures


def _missing_files(table: Table, column: str, reasons: Mapping[int, str]) -> DatasetError:
    first, *others = reasons
    names = ", ".join(str(table.columns[column][i]) for i in (first, *others[:2]))
    more = f" ({len(reasons)} rows: {names}{', ...' if len(reasons) > 3 else ''})" if others else ""
    return table.error(column, first, f"{reasons[first]}{more}")


def _labels(table: Table, labelled: bool) -> list[Task]:
    """Return the task of the column label; none without the column, or, unless `labelled`, with no value."""
    values = table.columns.get(LABEL)
    if values is None or (not labelled and all(map(is_missing, values))):
        return []
    order = table.orders.get(LABEL, ())
    tasks = [make_task(LABEL, values, partial(table.error, LABEL), order=order)]
    check_not_empty(tasks, table.place)
    return tasks


def _tasks(table: Table, label: list[str], target: list[str]) -> list[Task]:
    tasks = [
        make_task(name, table.columns[name], partial(table.error, name), numbers=name in target)
        for name in (*label, *target)
    ]
    check_not_empty(tasks, table.place)
    return tasks


def _splits(table: Table) -> np.ndarray | None:
    values = table.columns.get("split")
    if values is None:
        return None
    if error := table.missing("split"):
        raise error

    def refuse(i: int, value: Any) -> DatasetError:
        return table.error("split", i, f"unknown split {value!r}; expected train, val or test")

    return np.array(parse_each(values, split_name, refuse), dtype="U5")


def _groups(table: Table) -> np.ndarray | None:
    values = table.columns.get("group")
    if values is None:
        return None
    if error := table.missing("group"):
        raise error
    return parse_groups(values, len(values))


def _check_groups(table: Table, splits: np.ndarray | None, groups: np.ndarray | None) -> None:
    """Refuse a group on both sides: a classifier could recognise the group instead of the class."""
    if splits is None or groups is None:
        return
    trained = {group: i for i, group in enumerate(groups.tolist()) if splits[i] != "test"}
    for i, group in enumerate(groups.tolist()):
        if splits[i] == "test" and group in trained:
            other = trained[group]
            raise table.error(
                "group",
                i,
                f"group {group!r} is in test here and in {splits[other]} in row {table.rows[other]}; "
                "a group must not be on both sides",
            )
