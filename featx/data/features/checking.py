"""Check the parts of `Features`, and convert them to the types that a features file holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.data.features.hdf5_rows import encoded
from featx.data.labels import encode
from featx.data.string_column import StringColumn
from featx.errors import FeaturesError, UnknownName

# Texts that are looked through at a time.
_BLOCK = 2**16


def array_of(values: Any) -> np.ndarray:
    """Return an array-like as an array; a tensor of torch of any float type, on any device, too."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        if values.is_floating_point() and values.element_size() < 4:
            values = values.float()
    return np.asarray(values)


def as_float32(rows: np.ndarray) -> np.ndarray:
    """Return rows of float64 as float32; refuse finite values that float32 cannot hold."""
    with np.errstate(over="ignore"):
        converted = rows.astype(np.float32)
    lost = np.isinf(converted) & np.isfinite(rows)
    if lost.any():
        row, column = (int(i[0]) for i in np.nonzero(lost))
        raise FeaturesError(
            f"embeddings: the value {rows[row, column]:g} in row {row} is too large for float32; scale the "
            "rows first"
        )
    return converted


def are_names(labels: Any) -> bool:
    """Whether labels are texts, not numbers."""
    array = np.asarray(labels)
    return array.dtype.kind in "UT" or (
        array.dtype.kind == "O" and array.size > 0 and isinstance(array.flat[0], str)
    )


def encoded_labels(
    labels: Any, n: int, classes: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return names of classes as indices (n,), and the classes."""
    names = strings("labels", labels, n)
    blank = [i for i, name in enumerate(names) if not name.strip()]
    if blank:
        raise FeaturesError(f"labels[{blank[0]}] is blank: expected the name of a class")
    for i, name in enumerate(names):
        if classes is not None and name not in classes:
            raise FeaturesError(f"labels[{i}]: {UnknownName('class', name, classes)}")
    return encode(names, classes)


def strings(name: str, values: Any, n: int | None = None) -> list[str]:
    """Return texts as a list; refuse what cannot be stored as UTF-8, and a length other than `n`."""
    if isinstance(values, str | bytes) or np.ndim(values) == 0:
        raise FeaturesError(f"{name} is one {type(values).__name__}: expected a sequence of strings")
    strings = [str(value) if isinstance(value, np.str_) else value for value in values]
    if n is not None and len(strings) != n:
        raise FeaturesError(f"{name} has {len(strings)} entries for {n} embeddings")
    for i, value in enumerate(strings):
        if not isinstance(value, str):
            raise FeaturesError(f"{name}[{i}] is a {type(value).__name__}: expected a string")
        if "\0" in value:
            raise FeaturesError(f"{name}[{i}] is {value!r}: a NUL character cannot be stored")
        if value.isascii():
            continue
        try:
            encoded(value)
        except UnicodeEncodeError as error:
            raise FeaturesError(f"{name}[{i}] is {value!r}: not valid Unicode") from error
    return strings


def checked_ids(ids: Any, n: int) -> Sequence[str]:
    """Return unique ids as a list, or as the column that they are; refuse what cannot be stored."""
    if not isinstance(ids, StringColumn):
        ids = strings("ids", ids, n)
        if len(set(ids)) == n:
            return ids
    elif len(ids) != n or ids.holds(b"\0"):
        strings("ids", ids, n)  # says what is wrong
    twice = StringColumn.of(ids).first_repeated()
    if twice is not None:
        raise FeaturesError(f"ids: {ids[twice]!r} comes twice, expected unique ids")
    return ids


def text_array(name: str, values: Any, n: int) -> np.ndarray:
    """Return texts as an array (n,); what is one already is looked through in blocks."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "U" and values.shape == (n,):
        for at in range(0, n, _BLOCK):
            block = values[at : at + _BLOCK]
            if not "".join(block.tolist()).isprintable():
                strings(name, block)
        return values
    return np.array(strings(name, values, n), dtype=np.str_)


def as_text(groups: Any) -> Any:
    """Return groups that are whole numbers as text; others as they are."""
    array = np.asarray(groups)
    return (
        [str(value) for value in array.tolist()] if array.ndim == 1 and array.dtype.kind in "iu" else groups
    )


def checked_labels(labels: Any, n: int, classes: tuple[str, ...] | None) -> np.ndarray:
    """Return labels as int64 (n,); refuse those that are not indices into `classes`."""
    labels = np.asarray(labels)
    if labels.shape != (n,) or (labels.dtype.kind not in "iu" and n):
        raise FeaturesError(
            f"labels of shape {labels.shape} and dtype {labels.dtype}: expected integers of shape ({n},)"
        )
    if n and (labels.min() < 0 or int(labels.max()) > np.iinfo(np.int64).max):
        raise FeaturesError(f"labels: {labels.min()} is not the index of a class, expected 0 or more")
    if n and classes is not None and labels.max() >= len(classes):
        raise FeaturesError(f"labels: {labels.max()} with {len(classes)} classes")
    return labels.astype(np.int64)
