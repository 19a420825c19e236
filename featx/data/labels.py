"""Turn values given as labels, splits and groups into arrays: one rule for all readers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np

from featx.errors import DatasetError
from featx.options.checks import short

_Parsed = TypeVar("_Parsed")

SPLITS = ("train", "val", "test")

#: Words for a split.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

_INTEGER = re.compile(r"[+-]?[0-9]+")
# A whole number as a column of floats writes it.
_WHOLE_FLOAT = re.compile(r"([+-]?[0-9]+)\.0+")


def split_name(name: object) -> str | None:
    """Return "train", "val" or "test" for any common spelling, else None."""
    return SPLIT_WORDS.get(str(name).strip().lower())


def is_missing(value: Any) -> bool:
    """Whether a value is missing: None, NaN, NA, NaT or blank text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which need not be installed
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def same_form(text: str) -> str:
    """Return `text` in Unicode's composed form (NFC), in which names that look equal are equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def class_name(value: Any) -> str | None:
    """Return the class name that a label stands for; None if it is no label (a fraction, a list, a blank).

    Text is stripped and composed (NFC). ``"3.0"`` is ``"3"``: tables write whole numbers like that in a
    column that once held a gap. A number is a class if it is whole (``3`` and ``3.0`` are ``"3"``). True and
    False are ``"True"`` and ``"False"``, as tables write them.
    """
    if not isinstance(value, (str, np.generic)) and getattr(value, "ndim", None) == 0:
        value = value.item()  # one number of an array or a tensor
    if isinstance(value, str):
        text = same_form(str(value)).strip()
        whole = _WHOLE_FLOAT.fullmatch(text)
        return str(int(whole[1])) if whole else text or None
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        return str(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return None


def class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names in order: by value if all are whole numbers, else by code point."""
    distinct = set(names)
    if all(_INTEGER.fullmatch(name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def encode(names: Sequence[str], classes: Sequence[str] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return names as indices (n,), int64, into `classes` (default: `class_names`), and the classes."""
    classes = class_names(names) if classes is None else tuple(classes)
    index = {name: i for i, name in enumerate(classes)}
    return np.fromiter((index[name] for name in names), np.int64, len(names)), classes


def merge_classes(labels: Any, names: Iterable[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Merge the `names` that `class_name` makes equal; return indices into the rest, and the rest."""
    spelt = [class_name(name) or str(name) for name in names]
    classes = tuple(dict.fromkeys(spelt))
    labels = np.asarray(labels)
    # Dataset refuses an index beyond the names; where names are merged, it would get another one.
    if len(classes) < len(spelt) and labels.dtype.kind in "iu" and labels.size:
        if not 0 <= labels.min() <= labels.max() < len(spelt):
            raise DatasetError(f"labels: expected indices into {len(spelt)} classes, got {labels.max()}")
        labels = np.array([classes.index(name) for name in spelt])[labels]
    return labels, classes


def parse_each(
    values: Sequence[Any],
    parse: Callable[[Any], _Parsed | None],
    refuse: Callable[[int, Any], DatasetError],
) -> list[_Parsed]:
    """Return `parse(value)` of each value; raise `refuse(position, value)` for the first that gives None."""
    parsed = []
    for i, value in enumerate(values):
        found = parse(value)
        if found is None:
            raise refuse(i, value)
        parsed.append(found)
    return parsed


def encode_labels(values: Any, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class names or whole numbers given in Python as indices (n,) and classes."""

    def refuse(i: int, value: Any) -> DatasetError:
        return DatasetError(f"labels[{i}] is {value!r}; expected a class name or a whole number")

    return encode(parse_each(list_per_input(values, n, "labels"), class_name, refuse))


def parse_splits(values: Any, n: int) -> np.ndarray:
    """Return splits given in Python as an array of "train", "val" and "test"."""

    def refuse(i: int, value: Any) -> DatasetError:
        return DatasetError(f"splits[{i}] is {short(value)}; expected one of {', '.join(SPLITS)}")

    return np.array(parse_each(list_per_input(values, n, "splits"), split_name, refuse), dtype="U5")


def parse_groups(values: Any, n: int) -> np.ndarray:
    """Return groups as int64 if all are whole numbers, else as text."""
    listed = list_per_input(values, n, "groups")
    for i, value in enumerate(listed):
        if is_missing(value):
            raise DatasetError(f"groups[{i}] is missing; expected the group of every input")
    if all(isinstance(v, (int, np.integer)) and not isinstance(v, (bool, np.bool_)) for v in listed):
        return np.array(listed, dtype=np.int64)
    return np.array([class_name(v) or str(v) for v in listed])


def list_per_input(values: Any, n: int, what: str) -> list:
    """Return one-dimensional `values` of length n as a list."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise DatasetError(f"{what}: expected one value for each input, got {type(values).__name__}")
    if not isinstance(values, (list, tuple)):
        array = np.asarray(values)
        if array.ndim != 1:
            raise DatasetError(f"{what}: expected shape ({n},), got {array.shape}")
        values = array.tolist()
    if len(values) != n:
        raise DatasetError(f"{what}: expected one value for each of the {n} inputs, got {len(values)}")
    return list(values)
