"""`FeaturesWriter`: write the rows of a collection to a file, block after block, without holding them all."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from featx.data.collection import Collection
from featx.data.features.hdf5_rows import Hdf5Rows
from featx.data.features.parquet_rows import ParquetRows
from featx.data.features.stored_rows import blocks_of
from featx.data.string_column import StringColumn
from featx.durable import replacing, sweep_parts
from featx.errors import FeaturesError, MissingExtra, OutputError

if TYPE_CHECKING:
    from featx.data.features.features import Failure, Features


#: The suffixes of a features file; another kind of file is not meant to hold one.
FEATURES = (".h5", ".hdf5", ".parquet")


class FeaturesWriter:
    """A features file that is being written; a context manager.

    The file appears whole and durable when `finish` returns, or not at all; an older file of that name is
    there until then.

    Parameters
    ----------
    path : path-like
        With the suffix ``.parquet`` a table: ``id``, ``embedding`` (a list of `dim` values), the tasks,
        ``split`` and ``group``, and the space in its metadata (extra ``parquet``). Else HDF5.
    collection : Dataset or Features
        What the rows are of: ids, labels, splits, groups. Embeddings of a Features are not looked at.
    dim : int
        Values of a row.
    dtype : numpy.dtype or str
        float32 or float16.
    space, about : mapping
        As in `Features`.
    frame : bool, default=False
        Write the table of `Features.to_frame` as Parquet, whatever the suffix: a row is the columns ``x0``,
        ``x1``, ...

    Raises
    ------
    OutputError
        If the file cannot be written, such as on a full disk.
    FeaturesError
        If the collection cannot be stored, naming the part.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        collection: Collection,
        dim: int,
        dtype: Any,
        space: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
        *,
        frame: bool = False,
    ) -> None:
        self.path, self._frame = path, frame
        self._parts = _without_rows(collection, dim, space, about or {})
        self._dim, self._dtype = dim, np.dtype(dtype).newbyteorder("=")
        self._positions: list[np.ndarray | range] = []  # runs as ranges
        self._next = 0
        self._open = contextlib.ExitStack()
        self._rows: Hdf5Rows | ParquetRows | None = None

    def __enter__(self) -> FeaturesWriter:
        target = check_target(self.path)
        with self._errors():
            sweep_parts(target.parent)
            file = self._open.enter_context(replacing(target))
            try:
                self._rows = self._begin(file, target.suffix.lower())
            except BaseException as error:
                self._open.__exit__(type(error), error, error.__traceback__)
                raise
        return self

    def _begin(self, file: BinaryIO, suffix: str) -> Hdf5Rows | ParquetRows:
        if self._frame or suffix == ".parquet":
            return ParquetRows(file, self._parts, self._dim, self._dtype, as_list=not self._frame)
        n = len(self._parts)
        return Hdf5Rows(file, n, self._dim, self._dtype, self._parts.space, self._parts.about)

    def write(self, positions: np.ndarray, rows: np.ndarray) -> None:
        """Append rows (m, dim), those of the inputs at `positions` (m,); positions ascend over all calls."""
        positions = np.asarray(positions, np.int64)
        if rows.shape != (len(positions), self._dim):
            raise FeaturesError(f"rows of shape {rows.shape}: expected ({len(positions)}, {self._dim})")
        if len(positions) and (positions[0] < self._next or (np.diff(positions) < 1).any()):
            raise FeaturesError("positions must ascend")
        if not len(positions):
            return
        self._next = int(positions[-1]) + 1
        if self._next > len(self._parts):
            raise FeaturesError(f"position {self._next - 1} of {len(self._parts)} inputs")
        assert self._rows is not None, "enter the writer first"
        with self._errors():
            if isinstance(self._rows, ParquetRows):
                self._rows.write(positions, rows)
            else:
                self._rows.write(rows)
        first, last = int(positions[0]), int(positions[-1])
        if last - first != len(positions) - 1:
            self._positions.append(positions.copy())
        elif self._positions and isinstance(self._positions[-1], range) and self._positions[-1].stop == first:
            self._positions[-1] = range(self._positions[-1].start, last + 1)
        else:
            self._positions.append(range(first, last + 1))

    def finish(self, failures: Sequence[Failure] = ()) -> None:
        """Write ids, labels, splits and groups of the rows that were written; put the file in its place."""
        rows, self._rows = self._rows, None
        assert rows is not None, "enter the writer first"
        with self._errors():
            try:
                parts = self._parts
                if self._positions != [range(len(parts))] and len(parts):
                    parts = _take(parts, self._kept(), self._dim)
                parts.failures = list(failures)
                rows.finish(parts)
            except BaseException as error:
                rows.abandon()
                self._open.__exit__(type(error), error, error.__traceback__)
                raise
            self._open.close()

    def _kept(self) -> np.ndarray:
        runs = [np.arange(p.start, p.stop) if isinstance(p, range) else p for p in self._positions]
        return np.concatenate(runs) if runs else np.empty(0, np.int64)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.abandon()
            unfinished = error or _Unfinished()
            self._open.__exit__(type(unfinished), unfinished, None)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            text = str(error)
            raise (
                error if str(self.path) in text else OutputError(f"cannot write {self.path}: {text}")
            ) from error
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error


class _Unfinished(Exception):
    """The block ended without `finish`, so that no file appears."""


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return the real path of a file that can be written; `OutputError` if it or its folder cannot be."""
    target = Path(os.path.realpath(Path(path).expanduser()))  # a link stays a link
    try:
        if target.exists() and not target.is_file():
            raise OutputError(f"cannot write {path}: it exists and is not a file")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: the folder {target.parent} does not exist")
        if not os.access(target.parent, os.W_OK):
            raise OutputError(f"cannot write {path}: {os.strerror(errno.EACCES)}")
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return target


def check_output(path: str | os.PathLike[str], data: Any = None) -> None:
    """Refuse, with `OutputError`, a features file that cannot be written, or would replace the `data`.

    `MissingExtra` if it is a Parquet file and pyarrow is missing.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in ("", *FEATURES):
        ends = f"ends in {' or '.join(FEATURES)}, not in {suffix}"
        raise OutputError(f"{os.fspath(path)}: a features file {ends}; choose another output")
    target = check_target(path)
    if isinstance(data, (str, os.PathLike)) and target == Path(os.path.realpath(Path(data).expanduser())):
        raise OutputError(f"cannot write {path}: it is the data; choose another file")
    if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra("pyarrow", "parquet", "writing a .parquet file of features")


def write_features(features: Features, path: str | os.PathLike[str], *, frame: bool = False) -> None:
    """Write features to a file, with `frame` as a table; parameters and errors as for `Features.save`."""
    rows, about = features.embeddings, features.about
    with FeaturesWriter(
        path, features, features.dim, rows.dtype, features.space, about, frame=frame
    ) as writer:
        for place, block in blocks_of(rows):
            writer.write(np.arange(place.start, place.stop), block)
        writer.finish(features.failures)


def _without_rows(
    collection: Collection, dim: int, space: Mapping[str, Any], about: Mapping[str, Any]
) -> Features:
    """Return the collection as checked features whose rows take no memory."""
    from featx.data.features.features import Features

    known: Any = collection
    return Features(
        embeddings=_no_rows(len(collection), dim),
        ids=known.ids,
        labels=collection.labels,
        classes=collection.classes if collection.labels is not None else None,
        splits=collection.splits,
        groups=collection.groups,
        space=dict(space),
        about=dict(about),
        targets=collection.targets,
        label_name=collection.label_name,
    )


def _take(parts: Features, rows: np.ndarray, dim: int) -> Features:
    ids = StringColumn.of(parts.ids).take(rows)
    return parts._take(rows, embeddings=_no_rows(len(rows), dim), ids=ids)


def _no_rows(n: int, dim: int) -> np.ndarray:
    return np.broadcast_to(np.float32(0), (n, dim))
