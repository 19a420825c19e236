"""Read a features file, believing nothing that it says about itself."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.cache.identity import Space
from featx.errors import CacheError, FeaturesError
from featx.features.collection import Failure, Features
from featx.features.heap import check_heaps
from featx.features.writing import FORMAT_VERSION, encoded, text_crc

__all__ = ["FeaturesFile", "load_features", "open_features"]

_MOST_CHUNK_BYTES = 64 * 2**20
_TEXTS_AT_ONCE = 4096
_DEFLATE_LIMIT = 1100  # no deflate stream grows more than 1032-fold; more than this is no data


class LazyRows:
    """The embeddings in an opened file: an ``h5py.Dataset`` whose errors name the file.

    ``rows[10:20]`` reads those rows as an ndarray; `shape`, `dtype` and everything else are the dataset's.
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
    """A features file, opened for reading: rows are read when they are asked for.

    A context manager. Everything but the embeddings is small, checked, and read on opening.

    Attributes
    ----------
    path : Path
    embeddings : LazyRows of shape (n, d)
        Slice it to read rows.
    ids : list of str
    labels, splits, groups : ndarray of shape (n,), or None
    classes : tuple of str or None
    failures : list of Failure
    space : dict
    featx_version, created : str
        As written in the file; empty when it does not say.

    Raises
    ------
    FeaturesError
        If the file is missing, damaged, or no features file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        with _reading(self.path):
            if not self.path.is_file():
                raise FeaturesError("no such file" if not self.path.exists() else "not a file")
            try:
                # As h5py does it: one process cannot open a file with and without locks at once.
                self._file = h5py.File(self.path, "r")
            except OSError:  # a file system without locks, or somebody has locked it
                self._file = h5py.File(self.path, "r", locking=False)
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
        version = file.attrs.get("format_version", FORMAT_VERSION)
        if not isinstance(version, int | np.integer):
            raise FeaturesError("attribute format_version is not an integer")
        if version > FORMAT_VERSION:
            raise FeaturesError(f"format version {version}, this featx reads {FORMAT_VERSION}: update featx")
        rows = _dataset(file, "embeddings", None)
        check_heaps(self.path, rows)
        self.embeddings = LazyRows(rows, self.path)
        if self.embeddings.ndim != 2 or self.embeddings.shape[1] < 1:
            raise FeaturesError(f"/embeddings has shape {self.embeddings.shape}: expected (n, d) with d >= 1")
        if self.embeddings.dtype.kind != "f" or self.embeddings.dtype.itemsize not in (2, 4):
            raise FeaturesError(
                f"/embeddings is of dtype {self.embeddings.dtype}: expected float32 or float16"
            )
        n = len(self.embeddings)
        try:
            self.space = Space.from_json(_text_attribute(file, "space")).fields
        except CacheError as error:
            raise FeaturesError(f"attribute space: {error}") from error
        if file.attrs.get("space_id", (id := Space(self.space).id).encode()) != id.encode():
            raise FeaturesError("attribute space was changed or is damaged: it has another id than space_id")
        self.featx_version = _text_attribute(file, "featx_version") if "featx_version" in file.attrs else ""
        self.created = _text_attribute(file, "created") if "created" in file.attrs else ""
        self.ids = _read_strings(file, "ids", n)
        self.labels, self.classes = _read_labels(file, n)
        self.splits = np.array(_read_strings(file, "splits", n), dtype=np.str_) if "splits" in file else None
        self.groups = np.array(_read_strings(file, "groups", n), dtype=np.str_) if "groups" in file else None
        self.failures = _read_failures(file)
        # The rules for the parts are those of Features; an array of no memory stands for the rows.
        checked = self._features(np.broadcast_to(np.float32(0), self.embeddings.shape))
        self.ids, self.labels, self.classes = checked.ids, checked.labels, checked.classes

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def dim(self) -> int:
        """Values per row."""
        return int(self.embeddings.shape[1])

    def to_features(self) -> Features:
        """Everything in memory.

        Returns
        -------
        Features

        Raises
        ------
        FeaturesError
            If the rows cannot be read.
        """
        with _reading(self.path):
            rows = self.embeddings[...]
            return self._features(rows.astype(rows.dtype.newbyteorder("="), copy=False))

    def _features(self, rows: np.ndarray) -> Features:
        return Features(
            embeddings=rows,
            ids=self.ids,
            labels=self.labels,
            classes=self.classes,
            splits=self.splits,
            groups=self.groups,
            failures=self.failures,
            space=self.space,
        )

    def close(self) -> None:
        """Close the file; `embeddings` cannot be read any more."""
        self._file.close()

    def __enter__(self) -> FeaturesFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FeaturesFile({str(self.path)!r})"


def open_features(path: str | os.PathLike[str]) -> FeaturesFile:
    """Open a features file and read rows when they are needed.

    Parameters
    ----------
    path : path-like
        A file that `Features.save` or ``featx extract -o`` wrote.

    Returns
    -------
    FeaturesFile
        A context manager.

    Raises
    ------
    FeaturesError
        If the file is missing, damaged, or no features file.
    """
    return FeaturesFile(path)


def load_features(path: str | os.PathLike[str]) -> Features:
    """Read a features file into memory.

    Parameters
    ----------
    path : path-like
        A file that `Features.save` or ``featx extract -o`` wrote.

    Returns
    -------
    Features

    Raises
    ------
    FeaturesError
        If the file is missing, damaged, or no features file.
    """
    with open_features(path) as file:
        return file.to_features()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises for a bad file into one line that names it."""
    try:
        yield
    except FeaturesError as error:
        raise FeaturesError(f"{path}: {error}") from error
    except (ArithmeticError, OSError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        first = [*(getattr(error, "strerror", None) or str(error)).splitlines(), type(error).__name__][0]
        raise FeaturesError(f"{path}: damaged or not an HDF5 file ({first})") from error


def _dataset(file: h5py.File, name: str, shape: tuple[int, ...] | None) -> h5py.Dataset:
    """A dataset whose bytes are all in this file, in the amount that it claims."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):  # a link leads to who knows where
        raise FeaturesError(f"/{name} is missing")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise FeaturesError(f"/{name} is no array")
    if shape is not None and dataset.shape != shape:
        raise FeaturesError(f"/{name} has shape {dataset.shape}: expected {shape}")
    # A virtual dataset whose source is missing reads zeros without an error, an external one
    # depends on a path of some other machine.
    if dataset.is_virtual or dataset.external:
        raise FeaturesError(f"/{name} keeps its values in another file: expected all in one file")
    plist = dataset.id.get_create_plist()
    stored = dataset.id.get_storage_size()
    claimed = int(dataset.dtype.itemsize)
    for length in dataset.shape:
        claimed *= int(length)
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    compressed = bool(filters - {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE})
    growth = _DEFLATE_LIMIT if compressed else 1
    if plist.get_layout() == h5py.h5d.COMPACT:
        stored = claimed
    room = claimed if plist.get_layout() == h5py.h5d.COMPACT else file.id.get_filesize()
    if claimed > stored * growth or stored > room:
        raise FeaturesError(f"/{name} claims {claimed} bytes and the file holds {stored}")
    if dataset.chunks is not None:  # a chunk is read as a whole, however little of it is asked for
        chunk = int(dataset.dtype.itemsize) * math.prod(int(length) for length in dataset.chunks)
        if chunk > max(claimed, _MOST_CHUNK_BYTES):
            raise FeaturesError(f"/{name} has chunks of {chunk} bytes for {claimed} bytes of values")
    return dataset


def _is_text(dtype: np.dtype) -> bool:
    return h5py.check_string_dtype(dtype) is not None


def _decoded(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode("utf-8", "surrogateescape")


def _text_attribute(file: h5py.File, name: str) -> str:
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or not _is_text(attribute.dtype):
        raise FeaturesError(f"attribute {name} is not a text")
    return _decoded(file.attrs[name])


def _read_strings(file: h5py.File, name: str, n: int) -> list[str]:
    dataset = _dataset(file, name, (n,))
    if not _is_text(dataset.dtype):
        raise FeaturesError(f"/{name} is of dtype {dataset.dtype}: expected UTF-8 strings")
    texts = _texts(dataset)
    _check_texts(dataset, texts)
    return [_decoded(value) for value in texts]


def _texts(dataset: h5py.Dataset, columns: list[str] | None = None) -> list[Any]:
    """Texts or rows of texts, a few at a time: many may refer to one that is long."""
    values: list[Any] = []
    source = dataset if columns is None else dataset.fields(columns)
    room = dataset.file.id.get_filesize()
    for start in range(0, len(dataset), _TEXTS_AT_ONCE):
        for value in source[start : start + _TEXTS_AT_ONCE].tolist():
            room -= sum(map(len, value)) if isinstance(value, tuple) else len(value)
            if room < 0:
                raise FeaturesError(f"{dataset.name} claims more text than the file is long")
            values.append(value)
    return values


def _check_texts(dataset: h5py.Dataset, texts: list[Any]) -> None:
    stored = dataset.attrs.get("crc32")
    if stored is not None:  # a file that others made has none
        data = [text if isinstance(text, bytes) else encoded(text) for text in texts]
        if stored != text_crc(data):
            raise FeaturesError(
                f"{dataset.name} was changed or is damaged: its texts do not match its attribute crc32 "
                "(if the change is meant, delete that attribute)"
            )


def _read_labels(file: h5py.File, n: int) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    if "labels" not in file:
        return None, None
    dataset = _dataset(file, "labels", (n,))
    if dataset.dtype.kind not in "iu":
        raise FeaturesError(f"/labels is of dtype {dataset.dtype}: expected integers")
    if "classes" not in dataset.attrs:
        return dataset[...], None
    attribute = dataset.attrs.get_id("classes")
    if len(attribute.shape) != 1 or not _is_text(attribute.dtype):
        raise FeaturesError("attribute classes of /labels is not a list of texts")
    names = list(dataset.attrs["classes"])
    _check_texts(dataset, names)
    return dataset[...], tuple(_decoded(value) for value in names)


def _read_failures(file: h5py.File) -> list[Failure]:
    if "failures" not in file:
        return []
    dataset = _dataset(file, "failures", None)
    names = dataset.dtype.names or ()
    if dataset.ndim != 1 or not {"id", "reason"} <= set(names):
        raise FeaturesError(f"/failures has columns {list(names)}: expected id and reason")
    if not all(_is_text(dataset.dtype[name]) for name in ("id", "reason")):
        raise FeaturesError("/failures: expected UTF-8 strings in id and reason")
    table = _texts(dataset, ["id", "reason"])
    _check_texts(dataset, [text for row in table for text in row])
    return [Failure(_decoded(id), _decoded(reason)) for id, reason in table]
