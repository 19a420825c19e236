"""Read a folder that holds a table for each split, such as train.tsv, dev.tsv and test.tsv."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from featx.data.dataset import Dataset, quote_names
from featx.data.labels import SPLITS, split_name
from featx.data.read_report import LeftOut
from featx.data.readers.columns import make_dataset
from featx.data.readers.stored.column_inputs import join_inputs
from featx.data.readers.table import SUFFIXES, open_table
from featx.data.readers.tabular import Table, Wanted
from featx.errors import DatasetError
from featx.inputs.image import is_ignored

#: The tables of each split.
SplitTables = Mapping[str, Sequence[Path]]
# A name, and the number that it has where a table is in several files: train-00000-of-00002.parquet.
_NAME = re.compile(r"(\w+?)(-\d+-of-\d+)?")
# Further names of the split for validation; a folder of that name is a class.
_VALIDATION = ("dev", "development")


def find_split_tables(folder: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """Return the tables in a folder that are named like splits, by split; an empty dict without any."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    found: dict[str, list[Path]] = {}
    for name in names:
        split = _split_of(name)
        if split is not None and os.path.isfile(os.path.join(folder, name)):
            found.setdefault(split, []).append(Path(folder, name))
    return {split: found[split] for split in SPLITS if split in found}


def _split_of(name: str) -> str | None:
    """Return the split that the name of a table means; None for any other file."""
    stem, suffix = os.path.splitext(name)
    return split_in_name(stem) if suffix.lower() in SUFFIXES else None


def split_in_name(stem: str) -> str | None:
    """Return the split that a name without its suffix means, such as train-00000-of-00005; None without."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    return "val" if match[1].lower() in _VALIDATION else split_name(match[1])


def read_split_tables(
    folder: Path,
    tables: SplitTables,
    *,
    labelled: bool = True,
    text: str | None = None,
    label: Any = None,
    target: Any = None,
    group: str | None = None,
    split_by: str | None = None,
    on_error: str = "raise",
) -> Dataset:
    """Read the tables of `find_split_tables` as one dataset with these splits.

    Parameters and errors are those of `read_table`. The tables need not have all columns: a test set without
    public labels is unlabelled. A single table is read without a split.
    """
    for split, files in tables.items():
        if len(files) > 1 and not all("-of-" in file.name for file in files):
            names = quote_names([file.name for file in files])
            raise DatasetError(f"{folder}: several tables of the split {split}: {names}; keep one")
    wanted = Wanted(label, target, group, split_by)
    asked = wanted.check(str(folder))
    parts = [
        (split, file.name, open_table(file, text, asked, on_error))
        for split, files in tables.items()
        for file in files
    ]
    joined = join_tables(str(folder), parts, len(tables) > 1)
    name = folder.name or folder.resolve().name
    dataset = make_dataset(joined, name, labelled=labelled, wanted=wanted, on_error=on_error)
    used = [file for _, file, _ in parts]
    origin = f"the tables {quote_names(used)}"
    reading = replace(
        dataset.reading,
        splits_from=origin if dataset.splits is not None else "",
        left_out=_left_out(folder, used),
    )
    return replace(dataset, reading=reading)


def join_tables(place: str, parts: Sequence[tuple[str, str, Table]], several: bool) -> Table:
    """Return one table of all rows of tables that have a split and a name, with a column split if `several`.

    Tables without rows count for nothing, if any has rows.
    """
    parts = [part for part in parts if part[2].rows] or parts
    _, head, first = parts[0]
    known = dict.fromkeys(name for _, _, table in parts for name in table.columns if name != table.text)
    columns: dict[str, list[Any]] = {name: [] for name in (*known, *([first.text] if first.text else []))}
    splits: list[str] = []
    for split, file, table in parts:
        if bool(table.text) != bool(first.text):
            lacking, other = (table, head) if first.text else (first, file)
            raise DatasetError(
                f"{lacking.place}: no column of texts, which {other} has; text (--text) names one"
            )
        if (table.stored is None) != (first.stored is None) or (
            table.stored is not None and first.stored is not None and table.stored.kind != first.stored.kind
        ):
            raise DatasetError(
                f"{table.place}: its inputs are of another kind than those in {head}, or stored otherwise"
            )
        if several and "split" in table.columns:
            raise DatasetError(
                f"{table.place}: its name says that it is the split {split}, and it has a column split; "
                "remove one"
            )
        splits += [split] * len(table.rows)
        for name, values in columns.items():
            own = table.text if first.text and name == first.text else name
            values += table.columns.get(own, [None] * len(table.rows))
    return Table(
        place,
        first.folder,
        [f"{row} of {file}" for _, file, table in parts for row in table.rows],
        columns | ({"split": splits} if several else {}),
        list(dict.fromkeys(name for _, _, table in parts for name in table.found)),
        first.all_columns,
        _orders([table for _, _, table in parts]),
        text=first.text,
        names=[name for _, _, table in parts for name in table.names],
        notes=_notes(parts),
        stored=join_inputs(stored) if (stored := [t.stored for _, _, t in parts if t.stored]) else None,
        stored_column=first.stored_column,
    )


def _orders(tables: Sequence[Table]) -> dict[str, Sequence[str]]:
    """Return the declared classes of each column; `DatasetError` where tables declare others."""
    found: dict[str, Sequence[str]] = {}
    for table in tables:
        for name, order in table.orders.items():
            if list(found.setdefault(name, order)) != list(order):
                raise DatasetError(f"{table.place}: column {name} has other classes than {tables[0].place}")
    return found


def _notes(parts: Sequence[tuple[str, str, Table]]) -> list[str]:
    """Return the notes on the tables, once where they say the same of several."""
    files: dict[str, list[str]] = {}
    for _, file, table in parts:
        for note in table.notes:
            files.setdefault(note.removeprefix(file), []).append(file)
    return [f"{', '.join(names)}{said}" for said, names in files.items()]


def _left_out(folder: Path, used: Sequence[str]) -> LeftOut:
    """Return what else is in the folder."""
    names = sorted(set(os.listdir(folder)) - set(used))
    folders = [name for name in names if os.path.isdir(folder / name) and not is_ignored(name)]
    files = [name for name in names if name not in folders and not is_ignored(name)]
    suffixes = Counter(PurePath(name).suffix.lower() for name in files)
    first = {"": files[0]} if files else {}
    others = {"folder": len(folders)} if folders else {}
    return LeftOut(
        dict(suffixes), {}, others, first | ({"folder": folders[0]} if folders else {}), "split table"
    )
