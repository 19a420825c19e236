"""Read a Parquet file that `FeaturesWriter` wrote: the rows stay in it, in groups, until they are needed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.data.string_column import StringColumn
from featx.data.tasks import Task
from featx.errors import FeaturesError, MissingExtra

if TYPE_CHECKING:
    import pyarrow

# Columns of the table that are no tasks.
_OWN = {"id", "embedding", "split", "group"}


class ParquetEmbeddings:
    """The rows of a Parquet file, read by group; what `StoredRows` takes for a dataset of HDF5."""

    def __init__(self, path: Path) -> None:
        self._file = open_parquet(path)
        value = self._file.schema_arrow.field("embedding").type
        self.dtype = np.dtype(value.value_type.to_pandas_dtype())
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._ends = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])
        self.shape = (int(self._ends[-1]), int(value.list_size))
        self._kept: tuple[int, np.ndarray] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice) -> np.ndarray:
        start, stop, _ = which.indices(len(self))
        found = np.empty((max(0, stop - start), self.shape[1]), self.dtype)
        at = start
        while at < stop:
            group = int(np.searchsorted(self._ends, at, side="right")) - 1
            first, to = int(self._ends[group]), min(stop, int(self._ends[group + 1]))
            found[at - start : to - start] = self._group(group)[at - first : to - first]
            at = to
        return found

    def _group(self, group: int) -> np.ndarray:
        """Return the rows of a group; the last one is kept, as rows are mostly read in order."""
        with self._lock:
            if self._kept is None or self._kept[0] != group:
                try:
                    column = self._file.read_row_group(group, columns=["embedding"])["embedding"]
                    rows = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
                except Exception as error:  # pyarrow raises many kinds of error for damaged bytes
                    raise OSError(f"group {group}: {error}") from error
                self._kept = group, rows.reshape(-1, self.shape[1])
            return self._kept[1]


def open_parquet(path: Path) -> Any:
    """Open a Parquet file of features, and check its columns."""
    try:
        from pyarrow import parquet, types
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "reading a .parquet file of features") from error
    # With the checksums of its pages, where the file has them.
    file = parquet.ParquetFile(path, page_checksum_verification=True)
    schema = file.schema_arrow
    if not {"id", "embedding"} <= set(schema.names) or b"featx_space" not in (schema.metadata or {}):
        raise FeaturesError(
            "not a features file: expected the columns id and embedding, which featx extract -o F.parquet "
            f"writes; found {', '.join(schema.names[:8]) or 'none'}"
        )
    form = schema.field("embedding").type
    if not types.is_fixed_size_list(form) or str(form.value_type) not in ("float", "halffloat"):
        raise FeaturesError(f"the column embedding is {form}: expected lists of float32 or float16")
    return file


def read_parts(path: Path) -> dict[str, Any]:
    """Return everything but the embeddings, as keywords of `Features`."""
    file = open_parquet(path)
    schema = file.schema_arrow
    parts: dict[str, Any] = {
        "ids": StringColumn.of(_texts(file, "id")),
        "space": json.loads(schema.metadata[b"featx_space"]),
        "about": json.loads(schema.metadata.get(b"featx_about", b"{}")),
    }
    parts |= {
        f"{name}s": np.array(list(_texts(file, name))) for name in ("split", "group") if name in schema.names
    }
    label = schema.metadata.get(b"featx_label", b"").decode()
    targets = {}
    for name in schema.names:
        if name in _OWN:
            continue
        known = (schema.field(name).metadata or {}).get(b"classes")
        classes = None if known is None else tuple(json.loads(known))
        values = _numbers(file, name) if classes is None else _codes(file, name, classes)
        if name == label:
            parts |= {"labels": values.astype(np.int64), "classes": classes, "label_name": name}
        else:
            targets[name] = Task(name, values, classes)
    return parts | {"targets": targets}


def _codes(file: Any, name: str, classes: tuple[str, ...]) -> np.ndarray:
    """Return the indices of a column's classes, -1 where it has none."""
    known = {one: i for i, one in enumerate(classes)} | {None: -1}
    codes = [np.array([known[one] for one in batch.to_pylist()], np.int64) for batch in _batches(file, name)]
    return np.concatenate(codes) if codes else np.empty(0, np.int64)


def _numbers(file: Any, name: str) -> np.ndarray:
    found = [batch.to_numpy(zero_copy_only=False) for batch in _batches(file, name)]
    return np.concatenate(found) if found else np.empty(0)


def _texts(file: Any, name: str) -> Iterator[str]:
    for batch in _batches(file, name):
        yield from batch.to_pylist()


def _batches(file: Any, name: str) -> Iterator[pyarrow.Array]:
    for batch in file.iter_batches(columns=[name]):
        yield batch.column(0)
