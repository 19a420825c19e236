"""Read tables in Parquet files: small columns at once, those of encoded images and clips where they lie."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.readers.stored.chosen_columns import ChosenColumns
from featx.data.readers.stored.column_inputs import ColumnInputs
from featx.data.readers.stored.stored_columns import StoredColumn, kind_of_stored
from featx.data.readers.tabular import Table
from featx.errors import DatasetError, MissingExtra, as_one_error
from featx.places import LocalRanges, PlaceError, RangeReader
from featx.places.columns import ParquetColumn

# A file may have up to this many rows, and bytes in memory, per byte; plus _FREE_BYTES.
_GROWTH = 100
_FREE_BYTES = 10**6
# Rows that are read to see which columns could be labels or texts.
_LOOKED_AT = 10_000
# Types whose repeated values can be kept once.
_OF_BYTES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
# Bytes that are read at a time of a remote file.
_BUFFER = 2**20


def read_parquet(
    file: Path | RangeReader, text: str | None, asked: list[str], title: str | None = None
) -> Table:
    """Read the columns that are needed; `text` and `asked` as for `find_text_column`.

    Images and clips whose bytes are in the file are not read: see `featx.places.columns.ParquetColumn`. Ids
    of their rows begin with `title`; default: the file's name.
    """
    name = str(file) if isinstance(file, Path) else file.name
    title = title or os.path.basename(name)
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", f"reading {title}") from error
    reader = LocalRanges(file) if isinstance(file, Path) else file
    state = reader.stat_key()
    with _errors(name), _opened(file) as data, parquet.ParquetFile(data, **_settings(file)) as opened:
        schema = opened.schema_arrow
        if b"featx_space" in (schema.metadata or {}) and "embedding" in schema.names:
            raise DatasetError(f"{name}: a file of features, not of inputs; open it with load_features")
        chosen = ChosenColumns.of(name, schema, text, asked)
        _check_growth(name, reader.size, opened.metadata)
        stored = chosen.stored
        cells = None if stored is None else _locate(reader, stored, state, opened.metadata.num_rows)
        wanted = list(dict.fromkeys(schema.names[position] for position in chosen.positions.values()))
        texts = [one for one in wanted if str(schema.field(one).type) in _OF_BYTES]
        paths = [".".join(stored.files or ())] if stored is not None and cells is None else []
        settings = {"read_dictionary": texts, **_settings(file)}  # keeps repeated values once
        with _opened(file) as again, parquet.ParquetFile(again, **settings) as small:
            data_read = small.read(columns=[*wanted, *paths])
        for one in wanted:
            _check_texts(name, reader.size, one, data_read.column(one))
        columns = {
            key: data_read.column(schema.names[position]).to_pylist()
            for key, position in chosen.positions.items()
        }
        rows = list(range(1, opened.metadata.num_rows + 1))
        orders = chosen.name_classes(columns)
    folder = os.path.dirname(name) if isinstance(file, Path) else ""
    all_columns = partial(_plain_columns, file)
    table = Table(name, folder, rows, columns, chosen.names, all_columns, orders, text=chosen.text)
    if stored is not None and cells is not None:
        table.stored = ColumnInputs(stored.kind or kind_of_stored(stored, cells), [cells], [title])
        table.stored_column = stored.name
    elif stored is not None:  # no row has bytes, and each a path
        values = [None if one is None else one["path"] for one in data_read.column(stored.name).to_pylist()]
        columns["audio" if stored.kind == "clip" else "image"] = values
    return table


def _locate(reader: RangeReader, stored: StoredColumn, state: Any, rows: int) -> ParquetColumn | None:
    """Return the column of bytes; None if no row has any, and paths stand beside them."""
    column = ParquetColumn(reader, stored.bytes, stored.files, state)
    claimed = sum(chunk.unpacked for chunk in column.chunks)
    if len(column) != rows or claimed > _GROWTH * reader.size + _FREE_BYTES:
        raise PlaceError(
            f"refused: column {stored.name} of {len(column)} rows that would grow to {claimed} bytes, in a "
            f"file of {rows} rows and {reader.size} bytes"
        )
    chunks = [chunk for chunk in column.chunks if chunk.rows]
    if chunks and stored.files and not reader.is_remote and all(c.nulls == c.rows for c in chunks):
        return None
    return column


def _plain_columns(file: Path | RangeReader) -> dict[str, list[Any]]:
    """Read the columns of text and whole numbers, to see which could be labels."""
    from pyarrow import parquet, types

    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_boolean, types.is_dictionary)
    name = str(file) if isinstance(file, Path) else file.name
    with _errors(name), _opened(file) as data, parquet.ParquetFile(data, **_settings(file)) as opened:
        names = [field.name for field in opened.schema_arrow if any(is_kind(field.type) for is_kind in plain)]
        first = next(opened.iter_batches(batch_size=_LOOKED_AT, columns=names), None)
        return {} if first is None else {name: first.column(name).to_pylist() for name in names}


@contextlib.contextmanager
def _opened(file: Path | RangeReader) -> Iterator[Any]:
    """Give pyarrow a local file by its path, any other one as an object to read."""
    if isinstance(file, Path):
        yield file
        return
    import pyarrow

    with pyarrow.PythonFile(io.BufferedReader(_RangeFile(file), _BUFFER), mode="r") as opened:
        yield opened


def _settings(file: Path | RangeReader) -> dict[str, Any]:
    return {} if isinstance(file, Path) else {"pre_buffer": True}


class _RangeFile(io.RawIOBase):
    """A file whose ranges are read, as an object with `read` and `seek`."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader, self._at = reader, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._reader.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), max(self._reader.size - self._at, 0))
        if length:
            buffer[:length] = self._reader.read_range(self._at, length)
            self._at += length
        return length


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn whatever pyarrow raises into one error."""
    with as_one_error(lambda reason: DatasetError(f"{name}: not a readable parquet file ({reason})")):
        try:
            yield
        except PlaceError as error:
            raise DatasetError(f"{name}: {error}") from error


def _check_growth(name: str, size: int, metadata: Any) -> None:
    """Refuse a parquet file whose header claims more than a table of images needs.

    Repeated values compress to almost nothing, but paths differ from row to row.
    """
    # Do not ask each column: pyarrow aborts the process at a damaged one.
    claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if max(claimed, metadata.num_rows) > _GROWTH * size + _FREE_BYTES:
        raise DatasetError(
            f"{name}: refused: {size} bytes that would grow to {metadata.num_rows} rows of {claimed} bytes"
        )


def _check_texts(name: str, size: int, column_name: str, column: Any) -> None:
    """Refuse a column whose repeated values, written out, take too much memory for such a file."""
    total = 0
    for part in column.chunks:
        if hasattr(part, "dictionary"):
            values = part.dictionary.to_pylist()
            sizes = [len(value) if isinstance(value, (str, bytes)) else 8 for value in values]
            lengths = np.array(sizes, dtype=np.int64)
            codes = part.indices.drop_null().to_numpy()
            total += int(np.bincount(codes, minlength=len(lengths)) @ lengths) if len(lengths) else 0
    if total > _GROWTH * size + _FREE_BYTES:
        raise DatasetError(f"{name}: refused: column {column_name} would grow to {total} bytes")
