"""Read Arrow files as datasets of Hugging Face save them: by memory map, and inputs by their offset."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.readers.stored.chosen_columns import ChosenColumns
from featx.data.readers.stored.column_inputs import ColumnInputs
from featx.data.readers.stored.stored_columns import kind_of_stored
from featx.data.readers.tabular import Table
from featx.errors import DatasetError, MissingExtra, as_one_error
from featx.places import LocalRanges, PlaceError
from featx.places.columns import HeldColumn, SpanColumn, hold

_LOOKED_AT = 10_000


def read_arrow(file: Path, text: str | None, asked: list[str], title: str | None = None) -> Table:
    """Read the columns that are needed of an Arrow file, as `read_parquet` does."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", f"reading {file.name}") from error
    name = str(file)

    def as_damage() -> AbstractContextManager[None]:
        return as_one_error(lambda reason: DatasetError(f"{name}: not a readable Arrow file ({reason})"))

    with as_damage():
        reader = LocalRanges(file)  # before the file is mapped: one that replaces it has other offsets
        mapped = pyarrow.memory_map(name)
        whole = mapped.read_buffer()
        mapped.seek(0)
        try:
            data = pyarrow.ipc.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:
            data = pyarrow.ipc.open_file(mapped).read_all()
        chosen = ChosenColumns.of(name, data.schema, text, asked)
        data.validate()
        columns = {key: _checked(data.column(at)).to_pylist() for key, at in chosen.positions.items()}
        orders = chosen.name_classes(columns)

        def all_columns() -> dict[str, list[Any]]:
            small = data.slice(0, _LOOKED_AT)
            plain = [f.name for f in data.schema if str(f.type) in ("string", "bool") or "int" in str(f.type)]
            with as_damage():
                return {one: _checked(small.column(one)).to_pylist() for one in plain if "<" not in one}

        rows = list(range(1, data.num_rows + 1))
        table = Table(name, str(file.parent), rows, columns, chosen.names, all_columns, orders, chosen.text)
        if chosen.stored is not None:
            try:
                column = _spans(reader, whole, _checked(data.column(chosen.stored.name)))
                kind = chosen.stored.kind or kind_of_stored(chosen.stored, column)
            except PlaceError as error:
                raise DatasetError(f"{name}: not a readable Arrow file ({error})") from error
            table.stored = ColumnInputs(kind, [column], [title or file.name])
            table.stored_column = chosen.stored.name
    return table


def _checked(column: Any) -> Any:
    """Return a column of which each offset and index lies in its values: pyarrow follows them anywhere."""
    column.validate(full=True)
    return column


def _spans(reader: LocalRanges, whole: Any, column: Any) -> SpanColumn:
    """Return the values of a column by their offset in the file, which `whole` is in memory."""
    starts, lengths, files = [np.empty(0, np.int64)], [np.empty(0, np.int64)], {}
    first = 0
    for chunk in column.chunks:
        held: HeldColumn = hold(chunk, os.path.dirname(reader.path))
        offset = 0
        if len(held.data):
            offset = np.frombuffer(held.data, np.uint8).ctypes.data - whole.address
            if not 0 <= offset <= whole.size - len(held.data):
                raise PlaceError("it is compressed; save it without that")
        starts.append(held.starts + offset)
        lengths.append(held.lengths)
        files.update({first + row: path for row, path in held.files.items()})
        first += len(held)
    return SpanColumn(reader, np.concatenate(starts), np.concatenate(lengths), files)
