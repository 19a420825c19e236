"""Read the rows of a large training set in blocks, so that they are in memory once at most.

The probes of a small set work on standardised copies of its rows. From `IN_MEMORY` bytes on, a training
set is a `RowBlocks` instead: positions in an array that is in memory already, in a memory map or in a
features file. `featx.methods.probes.large_sets` says what is fitted to it, and how.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from featx.data.features.stored_rows import StoredRows, read_rows
from featx.errors import InputError
from featx.methods.probes.arguments import check_rows
from featx.methods.probes.term_counts import TermCounts

#: Training rows of more bytes (as float32 or float64) are read in blocks. A constant, not a share of the
#: memory that is free: the outcome of a study must not depend on the machine.
IN_MEMORY = 2**30
#: Most rows of a block, and most bytes.
BLOCK, _BLOCK_BYTES = 8192, 2**26


class RowBlocks:
    """Some rows of a large array, read when they are indexed.

    Parameters
    ----------
    source : ndarray, numpy.memmap, StoredRows, h5py.Dataset or LazyRows of shape (n_source, d)
        Numbers; all but float64 become float32 when they are read.
    at : ndarray of shape (n,), int, optional
        Positions of the rows, in any order; default: all.

    Attributes
    ----------
    shape : (n, d)
    dtype : numpy.dtype
        float32 or float64, of the rows as they are read.
    size, itemsize, nbytes : int
        Those of the rows as they are read.
    """

    def __init__(self, source: Any, at: np.ndarray | None = None):
        if len(source.shape) != 2 or source.dtype.kind not in "fiub" or 0 in source.shape:
            raise InputError(
                f"features must be numbers of shape (n_images, n_features), got {source.dtype}, "
                f"shape {source.shape}"
            )
        self._source = source
        self._at = np.arange(len(source)) if at is None else np.asarray(at, np.int64)
        double = source.dtype.newbyteorder("=") == np.float64
        self.dtype = np.dtype(np.float64 if double else np.float32)
        self.shape = (len(self._at), int(source.shape[1]))
        self.ndim, self.itemsize, self.size = 2, self.dtype.itemsize, self.shape[0] * self.shape[1]
        self.nbytes = self.size * self.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        """Return rows by slice or positions, (m, d), float32 or float64."""
        at = self._at[which]
        if len(at) and at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all():
            rows = self._source[int(at[0]) : int(at[-1]) + 1]
        elif isinstance(self._source, np.ndarray | StoredRows):
            rows = self._source[at]
        else:
            rows = read_rows(lambda first, stop: self._source[first:stop], at, self.shape[1], self.dtype)
        return np.asarray(rows, self.dtype)

    def take(self, rows: np.ndarray) -> RowBlocks:
        """Return some of the rows, by position, without reading them."""
        return RowBlocks(self._source, self._at[rows])

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the rows block after block, each with its place."""
        step = max(1, min(BLOCK, _BLOCK_BYTES // (self.shape[1] * self.itemsize)))
        for at in range(0, len(self), step):
            place = slice(at, min(at + step, len(self)))
            yield place, self[place]

    def check(self) -> RowBlocks:
        """Refuse rows with values that are not finite."""
        bad, first = 0, 0
        for place, rows in self.blocks():
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                first = first if bad else place.start + int(np.argmin(finite))
                bad += int((~finite).sum())
        if bad:
            raise InputError(
                f"features of row {first} are not finite ({bad} such rows); extract them again in fp32"
            )
        return self


class StandardisedRows:
    """Rows of `RowBlocks` minus a mean and divided by a scale, computed for each block when it is read.

    It stands in for the ndarray of `softmax.NumpyRows`.
    """

    def __init__(self, rows: RowBlocks, mean: np.ndarray, scale: np.ndarray):
        self._rows, self.shape, self.dtype, self.itemsize = rows, rows.shape, rows.dtype, rows.itemsize
        self._mean, self._factor = mean.astype(rows.dtype), (1 / scale).astype(rows.dtype)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        rows = self._rows[which] - self._mean
        rows *= self._factor
        return rows


def take_rows(source: Any, at: np.ndarray) -> Any:
    """Return rows by position, not checked: in memory up to `IN_MEMORY` bytes, and in blocks beyond."""
    rows = RowBlocks(source, at)
    return rows if rows.nbytes > IN_MEMORY else source[at]


def rows_of(source: Any, at: np.ndarray | None = None) -> np.ndarray | RowBlocks | TermCounts:
    """Return rows by position, checked: in memory up to `IN_MEMORY` bytes, and in blocks beyond."""
    if isinstance(source, TermCounts):
        return source if at is None else source[at]
    if isinstance(source, RowBlocks):
        return source.check()
    shape: tuple[int, ...] = getattr(source, "shape", ())
    dtype = getattr(source, "dtype", None)
    if dtype is not None and len(shape) == 2 and dtype.kind in "fiub":
        n = shape[0] if at is None else len(at)
        if n * shape[1] * max(dtype.itemsize, 4) > IN_MEMORY:
            return RowBlocks(source, at).check()
    return check_rows(source if at is None else source[at])
