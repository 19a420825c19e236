"""Datasets: images with labels, splits and groups, from folders, tables, memory, or by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.arrays import from_arrays, from_torch
from featx.datasets.dataset import Dataset, require_labelled
from featx.datasets.folder import read_folder
from featx.datasets.images import images_of
from featx.datasets.named import NAMES, canonical_name, data_root, named_dataset
from featx.datasets.table import SUFFIXES, read_table
from featx.errors import DatasetError, UnknownName
from featx.images import as_source, is_image_file
from featx.options import DATA, checked
from featx.tasks import Task, names_of

__all__ = [
    "NAMES",
    "Dataset",
    "Task",
    "data_root",
    "from_arrays",
    "from_torch",
    "images_of",
    "load_dataset",
    "named_dataset",
    "read_folder",
    "read_table",
    "require_labelled",
]


@checked()
def load_dataset(
    data: Any,
    labels: Any = None,
    *,
    limit: int | None = None,
    labelled: bool = True,
    seed: int = 0,
    label: Any = None,
    target: Any = None,
) -> Dataset:
    """A dataset of whatever stands for one.

    Parameters
    ----------
    data : Dataset, str, Path, sequence, ndarray, PIL image or torch Dataset
        A dataset as it is; a folder (see `read_folder`), a table (`read_table`) or an image file; a name
        out of `NAMES`, where no such file or folder exists; paths or images in memory (`from_arrays`); a
        map-style torch Dataset (`from_torch`).
    labels : array-like of shape (n,) or (n, k), DataFrame or dict of columns, optional
        Only for images in memory and lists of paths; the others bring their own. Several columns are
        several tasks (see `from_arrays`).
    limit : int, optional
        At most so many images, in proportion from every class of every split (`Dataset.limit`).
    labelled : bool, default=True
        With False, a table need not have labels, and a folder's images may lie beside its class folders.
    seed : int, default=0
        Of `limit`.
    label, target : str or sequence of str, optional
        Columns of classes and of numbers, by name: in a table (default: the column ``label``), in `labels`,
        or among the tasks of a Dataset. Several make several tasks (`Dataset.tasks`); an image that has no
        value in one of several is not part of that task.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        Saying what is wrong, where, and what was expected.
    """
    dataset = _load(data, labels, labelled, label, target)
    return dataset if limit is None else dataset.limit(limit, seed)


def _load(data: Any, labels: Any, labelled: bool, label: Any, target: Any) -> Dataset:
    if isinstance(data, (str, Path)):
        _refuse_labels(labels, f"{data}")
        return _load_path(data, labelled, label, target)
    if isinstance(data, Dataset):
        _refuse_labels(labels, data.name)
        return data.select(label, target)
    if isinstance(data, (list, tuple, np.ndarray)) or hasattr(data, "to_numpy"):
        if labels is None:
            _refuse_columns(label, target, "images without labels")
        return from_arrays(data, labels, label=label, target=target)
    _refuse_columns(label, target, type(data).__name__)
    if isinstance(data, (bytes, bytearray)) or hasattr(data, "getbands"):  # one image, encoded or of Pillow
        return from_arrays([data], labels)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, dict):
        if hasattr(data, "detach"):  # a tensor is indexed like a sequence of images
            return from_arrays([data[i] for i in range(len(data))], labels)
        _refuse_labels(labels, type(data).__name__)
        return from_torch(data)
    raise DatasetError(f"data: expected {DATA}; got {type(data).__name__}")


def _load_path(data: str | Path, labelled: bool, label: Any, target: Any) -> Dataset:
    path = Path(data).expanduser()
    suffix = path.suffix.lower()
    if path.is_file() and suffix in SUFFIXES:
        return read_table(path, labelled=labelled, label=label, target=target)
    if path.exists() or canonical_name(str(data)) is not None:
        _refuse_columns(label, target, str(data))
    if path.is_dir():
        return read_folder(path, labelled=labelled)
    if path.is_file():
        if is_image_file(path.name):
            return Dataset(path.name, [as_source(path, path.name)])
        if suffix in (".h5", ".hdf5"):
            raise DatasetError(f"{path}: a file of features, not of images; open it with open_features")
        raise DatasetError(f"{path}: neither a table (.csv, .parquet) nor an image, by its suffix")
    if canonical_name(str(data)) is not None:
        return named_dataset(str(data))
    # A word is a misspelt name; anything that looks like a path is a path.
    if suffix or os.sep in str(data) or "/" in str(data) or str(data).startswith("~"):
        raise DatasetError(f"{data}: no such file or folder; expected {DATA}")
    raise DatasetError(
        f"{data!r} is no folder, no table and no named dataset: {UnknownName('dataset', str(data), NAMES)}"
    )


def _refuse_labels(labels: Any, what: str) -> None:
    if labels is not None:
        raise DatasetError(
            f"{what} brings its own labels; labels can be given only with a list or array of images"
        )


def _refuse_columns(label: Any, target: Any, what: str) -> None:
    if label is not None or target is not None:
        raise DatasetError(
            f"{what}: label and target choose columns of a table, and this is none; "
            "give a .csv or .parquet with the columns path and " + " and ".join(names_of(label or target))
        )
