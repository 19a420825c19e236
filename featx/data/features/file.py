"""Open and read features files.

A file's claims are checked before they are used, so that reading takes memory in proportion to its size.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.cache.identity import Space
from featx.data.features.features import Features
from featx.data.features.file_parts import FileParts, stored_dataset
from featx.data.features.global_heap import check_heaps
from featx.data.features.hdf5_rows import FORMAT_VERSION
from featx.data.features.stored_rows import StoredRows, open_hdf5
from featx.durable import file_stamp
from featx.errors import CacheError, FeaturesError, FeatxError, as_one_error
from featx.options import checked, shown

__all__ = ["FeaturesFile", "load_features", "open_features"]

#: Rows of more bytes stay in their file, unless `load_features` is told otherwise.
IN_MEMORY = 2**30


class LazyRows:
    """The embeddings in an open file: an ``h5py.Dataset`` whose errors name the file.

    ``rows[10:20]`` reads those rows as an ndarray.
    """

    def __init__(self, dataset: h5py.Dataset, path: Path) -> None:
        self._dataset, self._path = dataset, path

    def __getitem__(self, which: Any) -> np.ndarray:
        try:
            rows: np.ndarray = self._dataset[which]
        except (OSError, RuntimeError) as error:
            raise FeaturesError(f"{self._path}: the rows asked for are damaged ({error})") from error
        return rows

    def __len__(self) -> int:
        return len(self._dataset)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype=dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before __init__ there is no dataset to ask
            raise AttributeError(name)
        return getattr(self._dataset, name)


class FeaturesFile:
    """A features file, open for reading; a context manager.

    Embeddings are read when they are indexed; all other parts are read and checked on opening.

    Attributes
    ----------
    path : Path
    embeddings : LazyRows of shape (n, d)
        Slice it to read rows.
    ids : sequence of str
        A list, or from 65,536 on a `StringColumn`.
    labels, splits, groups : ndarray of shape (n,), or None
    classes : tuple of str or None
    targets : dict of str to Task
    label_name : str
    failures : list of Failure
    space, about : dict
    featx_version, created : str
        As written in the file; empty when it does not say.

    Raises
    ------
    FeaturesError
        If the file is missing, damaged, or not a features file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        with _reading(self.path):
            if not self.path.is_file():
                raise FeaturesError("no such file" if not self.path.exists() else "not a file")
            if self.path.suffix.lower() == ".parquet":
                raise FeaturesError("is a Parquet file; load_features with in_memory=False reads its rows")
            self._stamp = file_stamp(self.path)
            self._file = open_hdf5(self.path)
        try:
            with _reading(self.path):
                self._load(self._file)
        except BaseException:
            self._file.close()
            raise

    def _load(self, file: h5py.File) -> None:
        if "embedding" in file and "row_crc32" in file:
            raise FeaturesError("is a shard of the embedding cache; expected a file of featx extract -o")
        if "embeddings" not in file or "space" not in file.attrs:
            raise FeaturesError(
                "not a features file: expected /embeddings and the attribute space, "
                f"found {', '.join(sorted(file)) or 'nothing'}"
            )
        rows = stored_dataset(file, "embeddings", None)
        parts = FileParts(file, check_heaps(self.path, rows))
        version = parts.attribute("format_version") if "format_version" in file.attrs else FORMAT_VERSION
        if not isinstance(version, int | np.integer):
            raise FeaturesError("attribute format_version is not an integer")
        if version > FORMAT_VERSION:
            raise FeaturesError(f"format version {version}, this featx reads {FORMAT_VERSION}: update featx")
        self.embeddings = LazyRows(rows, self.path)
        if self.embeddings.ndim != 2 or self.embeddings.shape[1] < 1:
            raise FeaturesError(f"/embeddings has shape {self.embeddings.shape}: expected (n, d) with d >= 1")
        if self.embeddings.dtype.kind != "f" or self.embeddings.dtype.itemsize not in (2, 4):
            raise FeaturesError(
                f"/embeddings is of dtype {self.embeddings.dtype}: expected float32 or float16"
            )
        n = len(self.embeddings)
        self.space = _fields(parts, "space")
        self.about = _fields(parts, "about") if "about" in file.attrs else {}
        if "space_id" in file.attrs and parts.attribute("space_id") != Space(self.space).id.encode():
            raise FeaturesError("attribute space was changed or is damaged: it has another id than space_id")
        self.featx_version = parts.text_attribute("featx_version") if "featx_version" in file.attrs else ""
        self.created = parts.text_attribute("created") if "created" in file.attrs else ""
        self.ids = parts.read_strings("ids", n)
        self.labels, self.classes = parts.read_labels(n)
        self.label_name = parts.read_label_name()
        self.targets = parts.read_targets(n)
        self.splits, self.groups = parts.read_names("splits", n), parts.read_names("groups", n)
        self.failures = parts.read_failures()
        # Features checks the parts; the rows are replaced by an array that takes no memory.
        checked = self._features(np.broadcast_to(np.float32(0), self.embeddings.shape))
        self.ids, self.labels, self.classes = checked.ids, checked.labels, checked.classes
        self.tasks = checked.tasks

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def dim(self) -> int:
        """Values per row."""
        return int(self.embeddings.shape[1])

    def to_features(self, in_memory: bool | None = True) -> Features:
        """Return the features; `in_memory` as for `load_features`.

        `FeaturesError` if rows that are read are damaged.
        """
        with _reading(self.path):
            if in_memory is None:
                in_memory = self.embeddings.nbytes <= IN_MEMORY
            if not in_memory and self.embeddings.size:
                if not self._file:
                    raise FeaturesError("is closed")
                return self._features(StoredRows(self.path, stamp=self._stamp))
            rows = self.embeddings[...]
            return self._features(rows.astype(rows.dtype.newbyteorder("="), copy=False))

    def _features(self, rows: Any) -> Features:
        return Features(
            embeddings=rows,
            ids=self.ids,
            labels=self.labels,
            classes=self.classes,
            splits=self.splits,
            groups=self.groups,
            failures=self.failures,
            space=self.space,
            about=self.about,
            targets=self.targets,
            label_name=self.label_name,
        )

    def close(self) -> None:
        """Close the file; its `embeddings` can then not be read any more."""
        self._file.close()

    def __enter__(self) -> FeaturesFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FeaturesFile({str(self.path)!r})"


@checked(path="file")
def open_features(path: str | os.PathLike[str]) -> FeaturesFile:
    """Open a features file to read rows as needed; parameters and errors as for `load_features`."""
    return FeaturesFile(path)


@checked(path="file")
def load_features(path: str | os.PathLike[str], *, in_memory: bool | None = None) -> Features:
    """Read a features file; the rows of a large one stay in the file until they are needed.

    Parameters
    ----------
    path : path-like
        A file that `Features.save` or ``featx extract -o`` wrote; also a ``.parquet`` of the latter, which
        has no failures.
    in_memory : bool, optional
        Whether `Features.embeddings` is read now, as an array. With False it is a `StoredRows`, which reads
        the rows that are indexed. Default: read up to 1 GiB, and leave more in the file.

    Returns
    -------
    Features

    Raises
    ------
    FeaturesError
        If the file is missing, damaged, or not a features file.
    """
    if in_memory is not None and not isinstance(in_memory, bool):
        raise FeaturesError(f"in_memory must be True, False or None, got {shown(in_memory)}")
    if os.path.splitext(path)[1].lower() == ".parquet":
        return _load_parquet(Path(path).expanduser(), in_memory)
    with open_features(path) as file:
        return file.to_features(in_memory)


def _load_parquet(path: Path, in_memory: bool | None) -> Features:
    from featx.data.features.parquet_file import read_parts

    with _reading(path):
        if not path.is_file():
            raise FeaturesError("no such file" if not path.exists() else "not a file")
        stamp = file_stamp(path)
        parts, rows = read_parts(path), StoredRows(path, stamp=stamp)
        whole = rows.nbytes <= IN_MEMORY if in_memory is None else in_memory
        embeddings: Any = np.asarray(rows) if whole else rows
        return Features(embeddings, **parts)


def _fields(parts: FileParts, name: str) -> dict[str, Any]:
    """Return the JSON object in an attribute of a file."""
    try:
        return Space.from_json(parts.text_attribute(name)).fields
    except CacheError as error:
        raise FeaturesError(f"attribute {name}: {error}") from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises for a bad file into a `FeaturesError` that names it."""
    try:
        with as_one_error(lambda reason: FeaturesError(f"damaged or not an HDF5 file ({reason})")):
            yield
    except FeatxError as error:
        raise FeaturesError(f"{path}: {error}") from error
