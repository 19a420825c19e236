"""Take the columns of a `datasets.Dataset` as they lie in Arrow, without decoding an image or a clip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.data.readers.stored.column_inputs import ColumnInputs
from featx.errors import DatasetError
from featx.places import LocalRanges, PlaceError
from featx.places.columns import hold, locate

_DECODED = ("Image", "Audio")


def is_arrow_dataset(rows: Any) -> bool:
    """Whether it is a dataset of Hugging Face whose rows are those of its Arrow table.

    One with a transform is not: its rows are what the transform makes of them.
    """
    if not hasattr(rows, "column_names") or not hasattr(getattr(rows, "data", None), "column"):
        return False
    about = getattr(rows, "format", None)
    return isinstance(about, Mapping) and about.get("type") != "custom" and hasattr(rows, "cast_column")


def undecoded(rows: Any) -> Any:
    """Return the same dataset, whose rows are plain and hold images and clips as they are encoded."""
    plain = rows.with_format(None)
    for name, kind in rows.features.items():
        if type(kind).__name__ in _DECODED and getattr(kind, "decode", False):
            plain = plain.cast_column(name, type(kind)(decode=False))
    return plain


def order_of(rows: Any) -> np.ndarray | None:
    """Return the rows of the Arrow table that the rows of a dataset are; None if they are all, in order."""
    indices = getattr(rows, "_indices", None)
    return None if indices is None else indices.column(0).to_numpy()


def column_of(rows: Any, name: str) -> list[Any]:
    """Return one column as Python values."""
    column, order = rows.data.column(name), order_of(rows)
    if order is None:
        return list(column.to_pylist())
    if "list" in str(column.type) or "struct" in str(column.type):
        values = column.to_pylist()
        return [values[i] for i in order.tolist()]
    return list(column.take(order).to_pylist())


def encoded_inputs(rows: Any, name: str, kind: str, place: str) -> ColumnInputs | None:
    """Return the encoded images or clips of a dataset; None if the column holds something else.

    They are read by offset if the dataset lies on disk, else from its memory.
    """
    feature = rows.features.get(name)
    if getattr(feature, "mode", None) not in (None, "RGB"):  # decoding changes the pixels
        return None
    column = rows.data.column(name)
    fields = str(column.type)
    if fields not in ("binary", "large_binary") and not fields.startswith("struct<bytes: "):
        return None
    files = [os.path.realpath(one["filename"]) for one in getattr(rows, "cache_files", ()) or ()]
    readers = {file: LocalRanges(file) for file in dict.fromkeys(files)}
    try:
        chunks = [locate(hold(chunk), readers) if readers else hold(chunk) for chunk in column.chunks]
    except PlaceError as error:
        raise DatasetError(f"{place}, column {name}: {error}") from error
    inputs = ColumnInputs(kind, chunks)
    order = order_of(rows)
    if order is None:
        return inputs
    return ColumnInputs(kind, chunks, None, inputs.column_of[order], inputs.row_of[order])
