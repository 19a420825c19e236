"""`load_dataset`: choose the reader by what is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.collection import without_split
from featx.data.dataset import Dataset
from featx.data.path_forms import read_local_archives, read_path
from featx.data.readers.archives.shards import find_archives, is_archive_name
from featx.data.readers.arrays import from_arrays, from_torch
from featx.data.readers.dict_rows import holds_rows, listed
from featx.data.readers.patterns import find_files
from featx.data.readers.records import has_columns, read_frame, read_parts, read_records
from featx.data.readers.refusals import refuse_columns, refuse_columns_of_tables
from featx.data.readers.remote import read_remote_archives, remote_table
from featx.data.readers.stored.column_files import is_column_file, read_column_files
from featx.data.summary import announce
from featx.errors import DatasetError, InputError
from featx.options import DATA, checked
from featx.places import is_url

__all__ = ["load_dataset"]


@checked()
def load_dataset(
    data: Any,
    labels: Any = None,
    *,
    limit: int | None = None,
    labelled: bool = True,
    seed: int = 0,
    text: str | None = None,
    label: Any = None,
    target: Any = None,
    group: str | None = None,
    split_by: str | None = None,
    on_error: str = "raise",
    verbose: bool = False,
) -> Dataset:
    """Make a dataset of a folder, a table, a name, inputs in memory, or a dataset of another library.

    All inputs are images, or clips of audio, or texts (`Dataset.kind`).

    Parameters
    ----------
    data : Dataset, str, Path, sequence, ndarray, data frame, PIL image, torch or Hugging Face Dataset
        A folder of images, audio or ``.txt`` files (see `read_folder`), a table (`read_table`), a folder of
        tables called ``train``, ``val`` (or ``dev``) and ``test`` (`read_split_tables`; if it holds images or
        audio, only with `text`, `label`, `target` or `group`), one such file, a URL, archives, a saved
        dataset of Hugging Face (see `featx.data.path_forms.read_path`), or, where no such file exists, a name
        in `NAMES`; paths, images, clips or texts in memory (`from_arrays`; samples in an array:
        `featx.data.clips`); a list of Parquet files (`read_column_files`); a data frame (`read_frame`); rows
        that are dicts, or a dataset of Hugging Face (`read_records`; a dict of these has their names as
        splits); a map-style torch Dataset (`from_torch`); or a Dataset, which is returned with the chosen
        tasks.
    labels : array-like of shape (n,) or (n, k), DataFrame or dict of columns, optional
        Only with inputs in memory and lists of paths. Several columns make several tasks (see
        `from_arrays`).
    limit : int, optional
        Draw at most this many inputs, as `Dataset.limit` does.
    labelled : bool, default=True
        Leave out inputs without a label if others have one, and name them in `Dataset.reading`. With False,
        all are kept, and a table need not have labels.
    seed : int, default=0
        Seed of `limit`.
    text : str, optional
        The column of texts of a table, a data frame or rows that are dicts. Default: see `read_table`.
    label, target : str or sequence of str, optional
        Columns of classes and of numbers: in a table (default: ``label``), in `labels`, or among the tasks of
        a Dataset. Each of several columns becomes a task (`Dataset.tasks`) of the inputs with a value in it.
    group : str, optional
        The column of groups of a table, a data frame or rows that are dicts; default: ``group``.
    split_by : {"folder", "group", "none"}, optional
        ``"group"``: the split that comes with the data is not used, so that studies draw one with each group
        on one side. ``"folder"``: the top folders of a folder are groups with the classes inside them.
        ``"none"``: they are the classes, whatever their names (see `read_folder`), and segments of one
        recording are no group (`read_table`).
    on_error : {"raise", "skip"}, default="raise"
        Whether to stop at a missing file, a folder that cannot be listed or a row without a text, or to leave
        it out and list it in `Dataset.reading`.
    verbose : bool, default=False
        Print on standard error what was found: inputs, classes, splits, groups, and what was left out.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        Names the place and what was expected there.
    """
    columns = {"text": text, "label": label, "target": target, "group": group}
    dataset = _load(data, labels, labelled, columns, split_by, on_error)
    if split_by == "group":
        dataset = without_split(dataset, dataset.name)
    if labelled:
        dataset = dataset.labelled()
    if limit is not None:
        dataset = dataset.limit(limit, seed)
    if verbose:
        announce(dataset)
    return dataset


def _load(
    data: Any, labels: Any, labelled: bool, columns: dict[str, Any], split_by: str | None, on_error: str
) -> Dataset:
    if isinstance(data, (str, Path)):
        _refuse_labels(labels, f"{data}")
        return read_path(data, labelled=labelled, split_by=split_by, on_error=on_error, **columns)
    if split_by == "folder":
        raise InputError(
            f"split_by='folder' divides a folder by the folders in it; got {type(data).__name__}"
        )
    if isinstance(data, Dataset):
        _refuse_labels(labels, data.name)
        refuse_columns_of_tables(columns, data.name)
        return data.select(**columns)
    divided: dict[str, Any] = {"split_by": split_by, "on_error": on_error}
    first = next(iter(data), None) if isinstance(data, (list, tuple)) else None
    of_paths = isinstance(first, (str, os.PathLike))
    if of_paths and all(map(is_archive_name, data)):
        _refuse_labels(labels, "a list of archives")
        if any(map(is_url, data)):
            return read_remote_archives(list(map(str, data)), labelled=labelled, **divided, **columns)
        return read_local_archives(find_archives(data), labelled=labelled, **divided, **columns)
    if of_paths and all(map(is_column_file, data)):
        _refuse_labels(labels, "a list of tables")
        return _read_tables(list(map(os.fspath, data)), labelled=labelled, **divided, **columns)
    if has_columns(data):
        if labels is None:
            return read_frame(data, labelled=labelled, **divided, **columns)
        text, group = columns.pop("text"), columns.pop("group")
        frame = read_frame(data, labelled=False, text=text, group=group, **divided)
        _refuse_labels(labels if frame.tasks else None, "the data frame")
        dataset = from_arrays(frame.inputs, labels, splits=frame.splits, groups=frame.groups, **columns)
        return replace(dataset, group_name=frame.group_name, group_like=frame.group_like)
    if isinstance(data, (bytes, bytearray, memoryview)) or hasattr(data, "getbands"):
        refuse_columns(columns, type(data).__name__)
        return from_arrays([data], labels, on_error=on_error)  # one image, encoded or of Pillow; one clip
    if isinstance(data, Mapping) and data and all(map(_is_part, data.values())):
        _refuse_labels(labels, "a dict of datasets")
        return read_parts(data, **divided, **columns)
    if _is_streamed(data) or (isinstance(data, Mapping) and any(map(_is_streamed, data.values()))):
        one = f"data[{next(iter(data))!r}]" if isinstance(data, Mapping) else "data"
        raise DatasetError(
            f"data: {type(data).__name__} has neither length nor order; load it without streaming=True, or "
            f"take some of its rows: list({one}.take(1000))"
        )
    data = listed(data)
    sequence = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Mapping)
    sequence = sequence and getattr(data, "__iter__", True) is not None  # features are rows, not images
    hugging_face = hasattr(data, "column_names")
    if sequence and (hugging_face or holds_rows(data)):
        return read_records(data, labels, **divided, **columns)
    if isinstance(data, (list, tuple, np.ndarray)) or hasattr(data, "to_numpy") or hasattr(data, "detach"):
        refuse_columns_of_tables(columns, type(data).__name__)
        if labels is None:
            refuse_columns(columns, "inputs without labels")
        return from_arrays(data, labels, on_error=on_error, **columns)
    refuse_columns(columns, type(data).__name__)
    if sequence:
        _refuse_labels(labels, type(data).__name__)
        return from_torch(data)
    raise DatasetError(f"data: expected {DATA}; got {type(data).__name__}")


def _read_tables(names: list[str], **reading: Any) -> Dataset:
    """Read Parquet and Arrow files, of which patterns may name several, and some lie behind URLs."""
    files: list[Any] = []
    for name in names:
        files += [remote_table(name)] if is_url(name) else map(Path, find_files(name))
    local = [str(file.absolute().parent) for file in files if isinstance(file, Path)]
    place = os.path.commonpath(local) if len(local) == len(files) else "a list of tables"
    return read_column_files(files, place, os.path.basename(place), **reading)


def _is_streamed(data: Any) -> bool:
    return hasattr(data, "column_names") and hasattr(data, "__iter__") and not hasattr(data, "__len__")


def _is_part(part: Any) -> bool:
    return all(hasattr(part, name) for name in ("column_names", "__len__", "__getitem__"))


def _refuse_labels(labels: Any, what: str) -> None:
    if labels is not None:
        raise DatasetError(
            f"{what} brings its own labels; give labels only with a list or an array of inputs"
        )
