"""Read several Parquet or Arrow files as one dataset: of splits, of a list, or of a pattern."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

from featx.data.dataset import Dataset, quote_names
from featx.data.readers.columns import make_dataset
from featx.data.readers.split_tables import join_tables, split_in_name
from featx.data.readers.table import RemoteTable, open_table
from featx.data.readers.tabular import Asked, Wanted
from featx.errors import DatasetError

#: Suffixes of files of columns.
SUFFIXES = (".parquet", ".arrow")


def read_column_files(
    files: Sequence[Path | RemoteTable],
    place: str,
    name: str,
    *,
    splits: Sequence[str | None] | None = None,
    labelled: bool = True,
    text: str | None = None,
    on_error: str = "raise",
    **asked: Unpack[Asked],
) -> Dataset:
    """Read files of columns as one dataset.

    Parameters
    ----------
    files : sequence of Path or RemoteTable
        Files on this machine, or Parquet files behind URLs.
    place, name : str
        What messages, and results, call all of them.
    splits : sequence of str or None, optional
        The split of each file; default: what their names say, as in ``train-00000-of-00005.parquet``, if each
        says one. If all are of one split, there is none.
    labelled, text, label, target, group, split_by, on_error
        As for `read_table`; labels are the ones that the files declare (``ClassLabel``), too.
    """
    if not files:
        raise DatasetError(f"{place}: no files")
    titles = _titles([str(file) for file in files])
    of_names = [_split_in_path(title) for title in titles] if splits is None else list(splits)
    several = None not in of_names and len(set(of_names)) > 1
    wanted = Wanted(**asked)
    columns = wanted.check(place)
    parts = [
        (split or "", title, open_table(file, text, columns, on_error, title))
        for split, title, file in zip(of_names, titles, files, strict=True)
    ]
    table = parts[0][2] if len(parts) == 1 else join_tables(place, parts, several)
    dataset = make_dataset(table, name, labelled=labelled, wanted=wanted, on_error=on_error)
    if dataset.splits is None or not several:
        return dataset
    return replace(dataset, reading=replace(dataset.reading, splits_from=f"the files {quote_names(titles)}"))


def _titles(names: Sequence[str]) -> list[str]:
    """Return the names without what they have in common; their last parts if these differ."""
    posix = [PurePosixPath(name.replace(os.sep, "/")) for name in names]
    last = [path.name for path in posix]
    if len(set(last)) == len(last):
        return last
    folders = zip(*(path.parts[:-1] for path in posix), strict=False)
    common = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, folders))
    return ["/".join(path.parts[common:]) for path in posix]


def _split_in_path(title: str) -> str | None:
    """Return the split in the name of a file, or of the folder that it is in."""
    path = PurePosixPath(title)
    found = split_in_name(path.stem)
    return found or (split_in_name(path.parent.name) if path.parent.name else None)


def is_column_file(name: Any) -> bool:
    """Whether a string or path is that of a file of columns, by its suffix."""
    return isinstance(name, (str, os.PathLike)) and os.fspath(name).lower().endswith(SUFFIXES)
