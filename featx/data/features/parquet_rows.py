"""Write rows block after block to one Parquet file, each with its id, labels, split and group."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from featx.data.features.frames import columns_of, value_names
from featx.data.string_column import StringColumn
from featx.errors import FeaturesError, MissingExtra, OutputError, as_one_error

if TYPE_CHECKING:
    import pyarrow

    from featx.data.features.features import Features

# Bytes of rows in a group of the file: what a reader needs at a time.
_GROUP_BYTES = 64 * 2**20


class ParquetRows:
    """A Parquet file that is being written.

    Parameters
    ----------
    file : file object
        Empty, and open for writing.
    parts : Features
        What the rows are of; its embeddings are not looked at.
    dim : int
    dtype : numpy.dtype
        float32 or float16.
    as_list : bool, default=True
        Whether a row is one column ``embedding``, a list of `dim` values; with False, it is the columns
        ``x0``, ``x1``, ... of `Features.to_frame`.
    """

    def __init__(
        self, file: BinaryIO, parts: Features, dim: int, dtype: np.dtype, *, as_list: bool = True
    ) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtra("pyarrow", "parquet", "writing a .parquet file of features") from error
        self._parts, self._dim, self._as_list = parts, dim, as_list
        value = pyarrow.from_numpy_dtype(dtype)
        fields = list(self._table_of(np.empty(0, np.int64)).schema)
        if as_list and any(field.name == "embedding" for field in fields):
            raise FeaturesError(
                "a task is named 'embedding', which is another column of the table; rename it"
            )
        if as_list:
            fields.append(pyarrow.field("embedding", pyarrow.list_(value, dim)))
        else:
            fields += [pyarrow.field(name, value) for name in value_names(dim)]
        # The names of classes, in order: a reader of the table sees only those that occur.
        classes = {name: task.classes for name, task in parts.tasks.items() if task.classes is not None}
        fields = [
            field.with_metadata({"classes": json.dumps(classes[field.name], ensure_ascii=False)})
            if field.name in classes
            else field
            for field in fields
        ]
        about = {"featx_about": json.dumps(parts.about, ensure_ascii=False)} if parts.about else {}
        label = {"featx_label": parts.label_name} if parts.labels is not None else {}
        space = {"featx_space": json.dumps(parts.space, ensure_ascii=False)}
        self._schema = pyarrow.schema(fields, metadata={**space, **about, **label})
        self._rows = np.empty((max(1, _GROUP_BYTES // (dim * dtype.itemsize)), dim), dtype)
        self._positions = np.empty(len(self._rows), np.int64)
        self._filled = 0
        with _writing():
            self._writer = parquet.ParquetWriter(file, self._schema, write_page_checksum=True)

    def write(self, positions: np.ndarray, rows: np.ndarray) -> None:
        """Append rows (m, dim), those of the inputs at `positions`."""
        while len(rows):
            room = len(self._rows) - self._filled
            m = min(room, len(rows))
            self._rows[self._filled : self._filled + m] = rows[:m]
            self._positions[self._filled : self._filled + m] = positions[:m]
            self._filled += m
            if m == room:
                self._flush()
            rows, positions = rows[m:], positions[m:]

    def finish(self, parts: Features) -> None:
        """Write what is left, and the end of the file."""
        self._flush()
        with _writing():
            self._writer.close()

    def abandon(self) -> None:
        """Close the file, which is not complete."""
        with contextlib.suppress(Exception):
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        if not self._filled:
            return
        rows, positions = self._rows[: self._filled], self._positions[: self._filled]
        self._filled = 0
        with as_one_error(FeaturesError):
            table = self._table_of(positions)
            if self._as_list:
                values = pyarrow.array(np.ascontiguousarray(rows).reshape(-1))
                columns = [pyarrow.FixedSizeListArray.from_arrays(values, self._dim)]
            else:
                columns = [pyarrow.array(np.ascontiguousarray(column)) for column in rows.T]
            table = pyarrow.Table.from_arrays([*table.columns, *columns], schema=self._schema)
        with _writing():
            self._writer.write_table(table, row_group_size=len(rows))

    def _table_of(self, positions: np.ndarray) -> pyarrow.Table:
        """Return the columns before the values of some inputs."""
        import pyarrow

        kept = self._parts._take(
            positions,
            embeddings=np.broadcast_to(np.float32(0), (len(positions), self._dim)),
            ids=StringColumn.of(self._parts.ids).take(positions),
        )
        columns: dict[str, Any] = columns_of(kept, () if not self._as_list else ("embedding",))
        return pyarrow.table(
            {
                name: pyarrow.array(list(values), pyarrow.string()) if _is_text(values) else values
                for name, values in columns.items()
            }
        )


def _is_text(values: Any) -> bool:
    return not isinstance(values, np.ndarray) or values.dtype.kind == "O"


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    with as_one_error(lambda reason: OutputError(f"cannot be written ({reason})")):
        yield
