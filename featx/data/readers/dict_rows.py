"""Tell dicts that are rows, with labels and more, from dicts that are one input each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.data.readers.clips import is_clip
from featx.data.readers.images import is_encoded
from featx.data.readers.known_columns import AUDIO_KEYS

# Keys of one input in memory.
_OF_INPUTS = frozenset(("bytes", "path", "array", "sampling_rate"))


def holds_rows(data: Any) -> bool:
    """Whether a sequence holds rows that are dicts, and not inputs that are dicts of bytes or of samples."""
    if isinstance(data, np.ndarray) or hasattr(data, "detach") or hasattr(data, "to_numpy") or not len(data):
        return False
    first = data[0]
    return isinstance(first, Mapping) and not is_encoded(first) and not _is_input(first)


def _is_input(row: Mapping[Any, Any]) -> bool:
    return is_clip(row) and row.keys() <= _OF_INPUTS


def listed(data: Any) -> Any:
    """Return an array or a column of dicts as a list, anything else as it is."""
    if isinstance(data, np.ndarray):
        return data.tolist() if data.dtype == object and data.ndim == 1 and _begins_with_dict(data) else data
    if hasattr(data, "to_numpy") and not hasattr(data, "columns") and not hasattr(data, "column_names"):
        made = data.to_numpy() if str(getattr(data, "dtype", "")) in ("object", "Object") else None
        return made.tolist() if made is not None and _begins_with_dict(made) else data
    return data


def _begins_with_dict(array: Any) -> bool:
    return len(array) > 0 and isinstance(array[0], Mapping)


def nested_rows(rows: Any) -> Any:
    """Return rows in which bytes or samples lie beside labels with the input in a dict of its own."""
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):
        return rows
    first = next(iter(rows))
    of_samples = "array" in first and "sampling_rate" in first
    if not (of_samples or "bytes" in first) or any(key in first for key in (*AUDIO_KEYS, "image")):
        return rows
    key = "audio" if of_samples else "image"
    return [
        {key: {name: value for name, value in row.items() if name in _OF_INPUTS}}
        | {name: value for name, value in row.items() if name not in _OF_INPUTS}
        for row in rows
    ]


def keys_of(rows: Sequence[Any], first: Mapping[Any, Any]) -> list[Any]:
    """Return the keys of all rows of a list, in order; those of the first row of any other sequence."""
    if not isinstance(rows, (list, tuple)):
        return list(first)
    return list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))
