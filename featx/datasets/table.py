"""Reading a table of images: .csv or .parquet with the columns path and label, and split or group."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.columns import check_not_empty, class_task, number_task
from featx.datasets.dataset import Dataset, check_evaluated_classes
from featx.datasets.labels import class_name, encode, groups_of, is_missing, split_name
from featx.errors import DatasetError, InputError, MissingExtra, UnknownName
from featx.images import FileImage
from featx.spreadsheet import original_cell
from featx.tasks import LABEL, Task, check_asked, names_of

SUFFIXES = (".csv", ".parquet")
COLUMNS = ("path", "label", "split", "group")


@dataclass
class _Table:
    """Columns of interest as they stand in the file.

    `rows` holds the number of each row as a reader would look it up: the line in a text editor for a .csv,
    counted from 1 for a .parquet.
    """

    file: Path
    row_word: str
    rows: list[int]
    columns: dict[str, list[Any]]
    found: list[str]

    def error(self, i: int, column: str, problem: str) -> DatasetError:
        return DatasetError(f"{self.file}, {self.row_word} {self.rows[i]}, column {column}: {problem}")

    def first_missing(self, column: str) -> DatasetError | None:
        gaps = [i for i, value in enumerate(self.columns[column]) if is_missing(value)]
        if not gaps:
            return None
        more = f" (and {len(gaps) - 1} more rows)" if len(gaps) > 1 else ""
        return self.error(gaps[0], column, f"no value{more}")


def read_table(
    path: str | os.PathLike[str], *, labelled: bool = True, label: Any = None, target: Any = None
) -> Dataset:
    """Read a table of images.

    Parameters
    ----------
    path : str or Path
        A ``.csv`` file (UTF-8; comma, semicolon or tab) or a ``.parquet`` file. Its column ``path`` is
        relative to the table's folder, or absolute; ``label`` is a name or a whole number; ``split`` is
        train, val or test; images of one ``group`` belong together. Further columns are ignored.
    labelled : bool, default=True
        With False the column ``label`` may be absent or empty, and the dataset is then unlabelled.
    label : str or sequence of str, optional
        Columns of classes, in place of ``label``.
    target : str or sequence of str, optional
        Columns of numbers. Where several columns are asked for, an image may have a blank in some of them
        and is then not part of those tasks; in a single column every image needs a value.

    Returns
    -------
    Dataset
        In the table's order; ids are the paths as they stand in it.

    Raises
    ------
    DatasetError
        Naming file, row and column: a missing column or value, a path that does not exist, the same path
        twice, an unknown split, a group in both train and test, a class in test that is not in train.
    MissingExtra
        If a .parquet file is read without pyarrow.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DatasetError(f"{file}: no such file")
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DatasetError(f"{file}: not a table; expected a file ending in {' or '.join(SUFFIXES)}")
    try:
        check_asked(label, target)
    except InputError as error:
        raise DatasetError(f"{file}: {error}") from error
    asked = [*names_of(label), *names_of(target)]
    table = _read_csv(file, asked) if suffix == ".csv" else _read_parquet(file, asked)
    _check_columns(table, labelled and not asked, asked)
    if not table.rows:
        raise DatasetError(f"{file}: the table has no rows")

    ids, paths = _paths(table)
    labels, classes = (None, None) if asked else _labels(table, labelled)
    splits = _splits(table)
    groups = _groups(table)
    _check_groups(table, splits, groups)
    images = [FileImage(id, where) for id, where in zip(ids, paths, strict=True)]
    dataset = Dataset(file.stem, list(images), labels, classes, splits, groups)
    if asked:
        dataset = dataset.with_tasks(_tasks(table, names_of(label), names_of(target)))
    if len(dataset.tasks) <= 1:  # of several tasks each has images of its own
        check_evaluated_classes(dataset, str(file))
    return dataset


def _read_csv(file: Path, asked: list[str]) -> _Table:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{file}, row {line}: not UTF-8 text; save the table as CSV UTF-8") from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror or error})") from error
    first = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is the decimal sign.
    delimiter = max(",;\t", key=first.count)
    records = _records(file, text, delimiter)
    header = next(records, (1, []))[1]
    names = [original_cell(name.strip()) for name in header]
    where = _positions(file, names, asked)
    rows: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in where}
    for line, record in records:
        if len(record) != len(header):
            raise DatasetError(
                f"{file}, row {line}: {len(record)} fields where the header has {len(header)}; "
                "quote a field that contains the separator"
            )
        rows.append(line)
        for name, position in where.items():
            columns[name].append(original_cell(record[position].strip()))
    return _Table(file, "row", rows, columns, names)


def _records(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, fields) of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for record in reader:
            if record and any(field.strip() for field in record):
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{file}, row {line}: {error}") from error


def _read_parquet(file: Path, asked: list[str]) -> _Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", f"reading {file.name}") from error
    try:
        with parquet.ParquetFile(file) as opened:
            names = list(opened.schema_arrow.names)
            where = _positions(file, names, asked)
            data = opened.read(columns=[names[position] for position in where.values()])
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{file}: not a readable parquet file ({' '.join(str(error).split())})") from error
    columns = {name: data.column(names[position]).to_pylist() for name, position in where.items()}
    return _Table(file, "row", list(range(1, data.num_rows + 1)), columns, names)


def _positions(file: Path, names: list[str], asked: list[str]) -> dict[str, int]:
    """Where each of `COLUMNS` stands, whatever the case it is written in; and those asked for, as written."""
    lower = [name.strip().lower() for name in names]
    for column in COLUMNS:
        if lower.count(column) > 1:
            raise DatasetError(f"{file}: {lower.count(column)} columns are named {column}; keep one")
    for column in asked:
        if names.count(column) > 1:
            raise DatasetError(f"{file}: {names.count(column)} columns are named {column}; keep one")
    found = {column: lower.index(column) for column in COLUMNS if column in lower}
    return found | {column: names.index(column) for column in asked if column in names}


def _check_columns(table: _Table, labelled: bool, asked: list[str]) -> None:
    needed = ("path", "label") if labelled else ("path",)
    missing = [column for column in needed if column not in table.columns]
    if missing:
        found = ", ".join(table.found) or "none"
        raise DatasetError(
            f"{table.file}: missing column {' and '.join(missing)}; found: {found}; "
            "expected path, label and optionally split and group"
        )
    for column in asked:
        if column not in table.columns:
            raise DatasetError(f"{table.file}: {UnknownName('column', column, table.found)}")
        if column.lower() in COLUMNS and column.lower() != LABEL:
            raise DatasetError(f"{table.file}: column {column} has a meaning of its own; it is no task")


def _paths(table: _Table) -> tuple[list[str], list[str]]:
    if error := table.first_missing("path"):
        raise error
    ids: list[str] = []
    paths: list[str] = []
    seen: dict[str, int] = {}
    absent: list[int] = []
    for i, value in enumerate(table.columns["path"]):
        if not isinstance(value, str):
            raise table.error(i, "path", f"expected text, got {value!r}")
        where = os.path.normpath(os.path.join(table.file.parent, value))
        if where in seen:
            raise table.error(
                i, "path", f"{value} is already in row {table.rows[seen[where]]}; remove one of them"
            )
        seen[where] = i
        if not os.path.isfile(where):
            absent.append(i)
        ids.append(value)
        paths.append(where)
    if absent:
        names = ", ".join(str(table.columns["path"][i]) for i in absent[:3])
        more = (
            f" ({len(absent)} rows: {names}{', ...' if len(absent) > 3 else ''})" if len(absent) > 1 else ""
        )
        first = absent[0]
        raise table.error(first, "path", f"no such file: {paths[first]}{more}")
    return ids, paths


def _labels(table: _Table, labelled: bool) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    values = table.columns.get("label")
    if values is None or (not labelled and all(is_missing(value) for value in values)):
        return None, None
    if error := table.first_missing("label"):
        raise error
    names = []
    for i, value in enumerate(values):
        name = class_name(value)
        if name is None:
            raise table.error(i, "label", f"expected a name or a whole number, got {value!r}")
        names.append(name)
    return encode(names)


def _tasks(table: _Table, label: list[str], target: list[str]) -> list[Task]:
    gaps = len(label) + len(target) > 1
    tasks = []
    for name, make in [*((n, class_task) for n in label), *((n, number_task) for n in target)]:

        def refuse(i: int, problem: str, name: str = name) -> DatasetError:
            return table.error(i, name, problem)

        tasks.append(make(name, table.columns[name], refuse, gaps=gaps))
    check_not_empty(tasks, str(table.file))
    return tasks


def _splits(table: _Table) -> np.ndarray | None:
    values = table.columns.get("split")
    if values is None:
        return None
    if error := table.first_missing("split"):
        raise error
    names = []
    for i, value in enumerate(values):
        name = split_name(value)
        if name is None:
            raise table.error(i, "split", f"unknown split {value!r}; expected train, val or test")
        names.append(name)
    return np.array(names, dtype="U5")


def _groups(table: _Table) -> np.ndarray | None:
    values = table.columns.get("group")
    if values is None:
        return None
    if error := table.first_missing("group"):
        raise error
    return groups_of(values, len(values))


def _check_groups(table: _Table, splits: np.ndarray | None, groups: np.ndarray | None) -> None:
    """A group on both sides would let a classifier recognise the group instead of the class."""
    if splits is None or groups is None:
        return
    trained = {group: i for i, group in enumerate(groups.tolist()) if splits[i] != "test"}
    for i, group in enumerate(groups.tolist()):
        if splits[i] == "test" and group in trained:
            other = trained[group]
            raise table.error(
                i,
                "group",
                f"group {group!r} is in test here and in {splits[other]} in row {table.rows[other]}; "
                "a group must not be on both sides",
            )
