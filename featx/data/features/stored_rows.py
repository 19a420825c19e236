"""`StoredRows`: embeddings that stay in their file and are read when they are indexed."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from featx.durable import file_stamp
from featx.errors import FeaturesError, as_one_error

__all__ = ["StoredRows", "blocks_of", "open_hdf5", "read_rows"]

# Bytes of rows that are read at a time.
_BLOCK_BYTES = 16 * 2**20
# Between two rows that are further apart, it is faster to skip than to read.
_GAP = 64


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, also where files cannot be locked."""
    try:
        # With h5py's default: a process cannot open one file both with and without locks.
        return h5py.File(path, "r")
    except OSError:  # a file system without locks, or another process has locked it
        return h5py.File(path, "r", locking=False)


def _embeddings(path: Path) -> Any:
    if path.suffix.lower() == ".parquet":
        from featx.data.features.parquet_file import ParquetEmbeddings

        return ParquetEmbeddings(path)
    return open_hdf5(path)["embeddings"]


class StoredRows(NDArrayOperatorsMixin):
    """Rows of a features file as an array of which the rows are read that are asked for.

    ``rows[10:20]``, ``rows[[3, 5]]`` and ``rows[mask]`` are ndarrays. Arithmetic, `numpy.asarray`, and every
    attribute of an array that is not listed here read all rows. The file is open as long as this lives, so
    that it may be replaced meanwhile; another process opens it again, and refuses one that was changed.

    Parameters
    ----------
    path : Path
        A features file, HDF5 or Parquet, whose parts have been checked.
    at : ndarray of shape (n,), int64, optional
        Which rows of the file; default: all.
    stamp : tuple, optional
        The `featx.durable.file_stamp` that the file must have; default: that which it has.

    Attributes
    ----------
    shape : (n, d)
    dtype : numpy.dtype
        float32 or float16.
    ndim, size, itemsize, nbytes : int
        Those of the array that all rows are.
    """

    def __init__(self, path: Path, at: np.ndarray | None = None, stamp: Any = None) -> None:
        self._path, self._at = Path(os.path.abspath(path)), at
        self._temporary: _Temporary | None = None
        self._stamp = stamp or file_stamp(self._path)
        self._open()
        dataset = self._dataset
        self.shape = (len(dataset) if at is None else len(at), int(dataset.shape[1]))
        self.dtype = dataset.dtype.newbyteorder("=")
        self.ndim, self.itemsize, self.size = 2, self.dtype.itemsize, self.shape[0] * self.shape[1]
        self.nbytes = self.size * self.itemsize

    def _open(self) -> None:
        with as_one_error(lambda reason: FeaturesError(f"{self._path}: cannot be opened again ({reason})")):
            self._dataset, self._process = _embeddings(self._path), os.getpid()
        if file_stamp(self._path) != self._stamp:
            raise FeaturesError(f"{self._path}: was changed since it was opened; load it again")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, tuple):
            if len(which) == 2 and which[0] is not Ellipsis:
                return self._columns(which[0], which[1])
            return np.asarray(self)[which]
        if which is Ellipsis or which is None:
            return np.asarray(self)[which]
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if step == 1 and self._at is None:
                return self._read(start, max(start, stop))
            return self._read_rows(np.arange(start, stop, step))
        chosen = np.asarray(which)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise IndexError(f"a mask of shape {chosen.shape} for {len(self)} rows")
            chosen = np.flatnonzero(chosen)
        if chosen.size and chosen.dtype.kind not in "iu":
            raise IndexError("rows are indexed by whole numbers, slices and masks")
        chosen = chosen.astype(np.int64)
        if chosen.size and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise IndexError(f"row {chosen.max()} of {len(self)}")
        chosen = np.where(chosen < 0, chosen + len(self), chosen)
        return self._read_rows(chosen.reshape(-1)).reshape(*chosen.shape, self.shape[1])

    def _columns(self, rows: Any, columns: Any) -> Any:
        """Read some columns, block after block, so that all columns are never in memory."""
        if not isinstance(rows, slice) or rows != slice(None):
            return self[rows][..., columns] if np.ndim(columns) == 0 else np.asarray(self)[rows, columns]
        return np.concatenate([block[:, columns] for _, block in self.blocks()] or [self[:0][:, columns]])

    def take(self, rows: np.ndarray) -> StoredRows:
        """Return the rows at `rows` (whole numbers), in that order, without reading them.

        They share the open file, which may have been replaced or removed.
        """
        at = np.asarray(rows, np.int64)
        found = StoredRows.__new__(StoredRows)
        vars(found).update(vars(self), _at=at if self._at is None else self._at[at])
        found.shape = (len(at), self.shape[1])
        found.size = found.shape[0] * found.shape[1]
        found.nbytes = found.size * found.itemsize
        return found

    def remove_when_unused(self) -> None:
        """Remove the file when neither these rows, nor any taken from them, are in use in this process."""
        self._temporary = _Temporary()
        weakref.finalize(self._temporary, _remove, self._path, os.getpid())

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield all rows in blocks, each with its place."""
        yield from blocks_of(self)

    def _read_rows(self, chosen: np.ndarray) -> np.ndarray:
        at = chosen if self._at is None else self._at[chosen]
        return read_rows(self._read, at, self.shape[1], self.dtype)

    def _read(self, start: int, stop: int) -> np.ndarray:
        if self._process != os.getpid():  # HDF5 must not be used on both sides of a fork
            self._open()
        try:
            rows: np.ndarray = self._dataset[start:stop]
        except (OSError, RuntimeError) as error:
            raise FeaturesError(f"{self._path}: rows {start} to {stop - 1} are damaged ({error})") from error
        return rows.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for place, rows in self.blocks():
            found[place] = rows
        return found

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        given = [np.asarray(one) if isinstance(one, StoredRows) else one for one in inputs]
        return getattr(ufunc, method)(*given, **options)

    def astype(self, dtype: Any, copy: bool = True) -> np.ndarray:
        """Read all rows as an array of a dtype."""
        return np.asarray(self, dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(np.asarray(self), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredRows, (self._path, self._at, self._stamp)

    def __repr__(self) -> str:
        return f"<{self.shape[0]:,} rows of {self.shape[1]:,} values ({self.dtype}) in {str(self._path)!r}>"


class _Temporary:
    """Lives as long as rows of a file that is to be removed."""


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # not where it was forked
        with contextlib.suppress(OSError):
            path.unlink()


def read_rows(read: Callable[[int, int], np.ndarray], at: np.ndarray, dim: int, dtype: Any) -> np.ndarray:
    """Return rows (m, dim) of a file by position, in any order.

    They are read in rising order, those close to each other by one call of `read` (the first position, and
    the one after the last), which is never asked for more than a block.
    """
    found = np.empty((len(at), dim), dtype)
    order = np.argsort(at, kind="stable")
    step = max(1, _BLOCK_BYTES // (dim * found.itemsize))
    ends = np.flatnonzero((np.diff(at[order]) > _GAP) | (np.diff(at[order] // step) > 0)) + 1
    for run in np.split(order, ends) if len(order) else ():
        first, last = int(at[run[0]]), int(at[run[-1]])
        found[run] = read(first, last + 1)[at[run] - first]
    return found


def blocks_of(rows: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows (n, d), of an array or a file, in blocks of some megabytes, each with its place."""
    step = max(1, _BLOCK_BYTES // max(1, rows.shape[1] * rows.dtype.itemsize))
    for start in range(0, len(rows), step):
        place = slice(start, min(start + step, len(rows)))
        yield place, rows[place]
