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
from featx.data.readers.archives import read_archives
from featx.data.readers.arrays import from_arrays, from_torch
from featx.data.readers.clips import holds_audio, is_clip
from featx.data.readers.folder import read_folder
from featx.data.readers.folder_listing import PathFinder, format_of_file, list_images
from featx.data.readers.images import is_encoded
from featx.data.readers.listing import has_media
from featx.data.readers.named import NAMES, canonical_name, named_dataset
from featx.data.readers.records import has_columns, read_frame, read_records
from featx.data.readers.remote import read_remote, read_remote_archives
from featx.data.readers.shards import (
    archives_in,
    expand_pattern,
    find_archives,
    is_archive,
    is_archive_name,
    name_shards,
    refuse_compressed,
)
from featx.data.readers.split_tables import find_split_tables, read_split_tables
from featx.data.readers.table import SUFFIXES, read_table
from featx.data.readers.urls import local_path
from featx.data.summary import announce
from featx.data.tasks import names_of
from featx.errors import DatasetError, InputError, UnknownName, as_one_error, reason_of
from featx.inputs.audio import FileClip, is_audio_file
from featx.inputs.image import as_source, is_image_file
from featx.inputs.image.containers import describe_data
from featx.inputs.text import FileText, is_text_file
from featx.options import DATA, checked
from featx.places import LocalRanges, is_url
from featx.terminal import shortened

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
        audio, only with `text`, `label`, `target` or `group`), one such file, or, where no such file exists,
        a name in `NAMES`; paths, images, clips or texts in memory (`from_arrays`; samples in an array:
        `featx.data.clips`); a data frame (`read_frame`); rows that are
        dicts (`read_records`); a map-style torch Dataset (`from_torch`); or a Dataset, which is returned with
        the chosen tasks.
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
        return _load_path(data, labelled, columns, split_by, on_error)
    if split_by == "folder":
        raise InputError(
            f"split_by='folder' divides a folder by the folders in it; got {type(data).__name__}"
        )
    if isinstance(data, Dataset):
        _refuse_labels(labels, data.name)
        _refuse_columns_of_tables(columns, data.name)
        return data.select(**columns)
    divided: dict[str, Any] = {"split_by": split_by, "on_error": on_error}
    if isinstance(data, (list, tuple)) and data and all(map(is_archive_name, data)):
        _refuse_labels(labels, "a list of archives")
        if any(map(is_url, data)):
            given = list(map(str, data))
            return read_remote_archives(
                given, labelled=labelled, split_by=split_by, on_error=on_error, **columns
            )
        return _read_archives(find_archives(data), labelled, columns, split_by, on_error)
    if has_columns(data):
        if labels is None:
            return read_frame(data, labelled=labelled, **divided, **columns)
        text, group = columns.pop("text"), columns.pop("group")
        frame = read_frame(data, labelled=False, text=text, group=group, **divided)
        _refuse_labels(labels if frame.tasks else None, "the data frame")
        dataset = from_arrays(frame.inputs, labels, splits=frame.splits, groups=frame.groups, **columns)
        return replace(dataset, group_name=frame.group_name, group_like=frame.group_like)
    if isinstance(data, (bytes, bytearray, memoryview)) or hasattr(data, "getbands"):
        _refuse_columns(columns, type(data).__name__)
        return from_arrays([data], labels, on_error=on_error)  # one image, encoded or of Pillow; one clip
    sequence = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Mapping)
    sequence = sequence and getattr(data, "__iter__", True) is not None  # features are rows, not images
    hugging_face = hasattr(data, "column_names")
    if sequence and (hugging_face or (len(data) and _holds_dicts(data))):
        return read_records(data, labels, **divided, **columns)
    if isinstance(data, (list, tuple, np.ndarray)) or hasattr(data, "to_numpy") or hasattr(data, "detach"):
        _refuse_columns_of_tables(columns, type(data).__name__)
        if labels is None:
            _refuse_columns(columns, "inputs without labels")
        return from_arrays(data, labels, on_error=on_error, **columns)
    _refuse_columns(columns, type(data).__name__)
    if sequence:
        _refuse_labels(labels, type(data).__name__)
        return from_torch(data)
    hint = ""
    if isinstance(data, Mapping) and data and all(hasattr(part, "column_names") for part in data.values()):
        first = next(iter(data))
        hint = f"; give one of its parts, as in data[{first!r}]"
    raise DatasetError(f"data: expected {DATA}; got {type(data).__name__}{hint}")


def _holds_dicts(data: Any) -> bool:
    """Whether the rows are dicts; one of bytes and path, or of samples and rate, is an input, not a row."""
    if isinstance(data, np.ndarray) or hasattr(data, "detach") or hasattr(data, "to_numpy"):
        return False
    first = data[0]
    return isinstance(first, Mapping) and not is_encoded(first) and not is_clip(first)


def _load_path(
    data: str | Path, labelled: bool, columns: dict[str, Any], split_by: str | None, on_error: str
) -> Dataset:
    if is_url(data):
        if (local := local_path(str(data))) is None:
            return read_remote(str(data), labelled=labelled, split_by=split_by, on_error=on_error, **columns)
        data = local
    try:
        path = Path(data).expanduser()
        if not path.exists():
            path = Path(PathFinder().find(str(path)))
    except (OSError, RuntimeError) as error:  # too long a name, no permission, no home folder
        raise DatasetError(f"{data}: cannot be read ({reason_of(error)})") from error
    suffix = path.suffix.lower()
    if path.is_dir():
        tables = find_split_tables(path)
        asked = any(column is not None for column in columns.values())
        # Listed once: a folder may hold millions of files.
        images = None if tables and asked else list_images(path, on_error="skip")
        if tables and split_by != "folder" and (images is None or not has_media(images)):
            divided: dict[str, Any] = {"split_by": split_by, "on_error": on_error}
            return read_split_tables(path, tables, labelled=labelled, **divided, **columns)
        if archives := archives_in(path, images):
            within = [os.path.join(path, *archive.split("/")) for archive in archives]
            return _read_archives(within, labelled, columns, split_by, on_error, path)
        _refuse_columns(columns, str(data))
        return read_folder(path, labelled=labelled, split_by=split_by, on_error=on_error, images=images)
    if path.is_file() and is_archive(path):
        return _read_archives([str(path)], labelled, columns, split_by, on_error)
    if not path.exists() and (files := expand_pattern(str(data))):
        return _read_archives(files, labelled, columns, split_by, on_error)
    if split_by == "folder":
        raise InputError(
            f"{data}: not a folder; split_by='folder' (--split-by folder) divides one by the folders in it"
        )
    if path.is_file() and suffix in SUFFIXES:
        return read_table(path, labelled=labelled, split_by=split_by, on_error=on_error, **columns)
    if path.exists() or canonical_name(str(data)) is not None:
        _refuse_columns(columns, str(data))
    if path.is_file():
        if is_image_file(path.name) or format_of_file(str(path)) is not None:
            return Dataset(path.name, [as_source(path, path.name)])
        if is_audio_file(path.name) or holds_audio(path):
            return Dataset(path.name, [FileClip(path.name, str(path))])
        if is_text_file(path.name):
            return Dataset(path.name, [FileText(path.name, str(path))])
        if suffix in (".h5", ".hdf5"):
            raise DatasetError(f"{path}: a file of features, not of inputs; open it with open_features")
        refuse_compressed(path)
        raise DatasetError(f"{path}: {_describe_file(path)}; expected {DATA}")
    if path.exists():
        raise DatasetError(f"{path}: neither a folder nor a file, but a pipe, socket or device")
    if canonical_name(str(data)) is not None:
        return named_dataset(str(data))
    # A word is a misspelt name; anything that looks like a path is a path.
    if suffix or os.sep in str(data) or "/" in str(data) or str(data).startswith("~"):
        raise DatasetError(f"{data}: no such file or folder; expected {DATA}")
    if len(str(data).split()) > 2:
        raise DatasetError(
            f"{shortened(str(data), 60)!r} is no file or folder; put a text into a list: [text]"
        )
    raise DatasetError(
        f"{data!r} is no folder, no table and no named dataset: {UnknownName('dataset', str(data), NAMES)}"
    )


def _read_archives(
    files: list[str],
    labelled: bool,
    columns: dict[str, Any],
    split_by: str | None,
    on_error: str,
    root: Path | None = None,
) -> Dataset:
    """Read archives that lie in the folder `root`, or anywhere."""
    text = columns.get("text")
    if text is not None:
        _refuse_columns_of_tables(dict(columns, group=None), files[0])
    folder, called = name_shards(files)
    if root is not None:
        folder, called = str(root), [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
    name = Path(files[0]).name if len(files) == 1 else Path(folder).name or Path(folder).resolve().name
    asked = {what: columns[what] for what in ("label", "target", "group")}
    return read_archives(
        [LocalRanges(file) for file in files],
        name=name,
        called=called,
        labelled=labelled,
        split_by=split_by,
        on_error=on_error,
        **asked,
    )


def _describe_file(path: Path) -> str:
    """Say what a file is that is no table, image, clip or text."""
    unreadable = as_one_error(lambda reason: DatasetError(f"{path}: cannot be read ({reason})"))
    with unreadable, open(path, "rb") as file:
        found = describe_data(file.read(512))
    # No message quotes a file that may have been given by mistake.
    if not found.startswith(("text", "data")):
        return found
    return f"neither a table ({', '.join(SUFFIXES)}) nor an image, nor audio, nor a text (.txt)"


def _refuse_labels(labels: Any, what: str) -> None:
    if labels is not None:
        raise DatasetError(
            f"{what} brings its own labels; give labels only with a list or an array of inputs"
        )


def _refuse_columns_of_tables(columns: dict[str, Any], what: str) -> None:
    """Take `text` and `group` out of the columns that are asked for; `DatasetError` if one is given."""
    for name in ("text", "group"):
        column = columns.pop(name, None)
        if column is not None:
            raise DatasetError(
                f"{what}: {name} (--{name}) chooses a column of a table, and this is no table; give one of "
                f"{', '.join(SUFFIXES)} with the column {column}, or leave it out"
            )


def _refuse_columns(columns: dict[str, Any], what: str) -> None:
    _refuse_columns_of_tables(columns, what)
    label, target = columns["label"], columns["target"]
    if label is not None or target is not None:
        raise DatasetError(
            f"{what}: label and target choose columns of a table, and this is no table; "
            "give a .csv or .parquet with the columns path (or text) and "
            + " and ".join(names_of(label or target))
        )
