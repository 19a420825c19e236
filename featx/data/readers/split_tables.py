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
    match = _NAME.fullmatch(stem)
    if suffix.lower() not in SUFFIXES or match is None:
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
        (split, file, open_table(file, text, asked, on_error))
        for split, files in tables.items()
        for file in files
    ]
    joined = _joined(str(folder), [part for part in parts if part[2].rows] or parts, len(tables) > 1)
    name = folder.name or folder.resolve().name
    dataset = make_dataset(joined, name, labelled=labelled, wanted=wanted, on_error=on_error)
    used = [file.name for _, file, _ in parts]
    origin = f"the tables {quote_names(used)}"
    reading = replace(
        dataset.reading,
        splits_from=origin if dataset.splits is not None else "",
        left_out=_left_out(folder, used),
    )
    return replace(dataset, reading=reading)


def _joined(place: str, parts: Sequence[tuple[str, Path, Table]], several: bool) -> Table:
    """Return one table of all rows, with the column split if there are several splits."""
    _, head, first = parts[0]
    known = dict.fromkeys(name for _, _, table in parts for name in table.columns if name != table.text)
    columns: dict[str, list[Any]] = {name: [] for name in (*known, *([first.text] if first.text else []))}
    splits: list[str] = []
    for split, file, table in parts:
        if bool(table.text) != bool(first.text):
            lacking, other = (file, head) if first.text else (head, file)
            raise DatasetError(
                f"{lacking}: no column of texts, which {other.name} has; text (--text) names one"
            )
        if several and "split" in table.columns:
            raise DatasetError(
                f"{file}: its name says that it is the split {split}, and it has a column split; remove one"
            )
        splits += [split] * len(table.rows)
        for name, values in columns.items():
            own = table.text if first.text and name == first.text else name
            values += table.columns.get(own, [None] * len(table.rows))
    return Table(
        place,
        first.folder,
        [f"{row} of {file.name}" for _, file, table in parts for row in table.rows],
        columns | ({"split": splits} if several else {}),
        list(dict.fromkeys(name for _, _, table in parts for name in table.found)),
        first.all_columns,
        text=first.text,
        names=[name for _, _, table in parts for name in table.names],
        notes=_notes(parts),
    )


def _notes(parts: Sequence[tuple[str, Path, Table]]) -> list[str]:
    """Return the notes on the tables, once where they say the same of several."""
    files: dict[str, list[str]] = {}
    for _, file, table in parts:
        for note in table.notes:
            files.setdefault(note.removeprefix(file.name), []).append(file.name)
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
