"""Find the labels in rows that are dicts, by the names of their keys; they are never dropped silently."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from featx.data.dataset import quote_names
from featx.data.readers.known_columns import LABEL_KEYS
from featx.errors import DatasetError

_WORDS = frozenset((*LABEL_KEYS, "classes", "categories", "targets"))
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def names_labels(key: Any) -> bool:
    """Whether a key is the name of labels: it is one of the words for them, or has one in it: fine_label."""
    if not isinstance(key, str):
        return False
    parts = (part.lower() for part in _PARTS.findall(key))
    return key.strip().lower() in _WORDS or any(part in _WORDS and part != "y" for part in parts)


def choose_label_key(place: str, names: Sequence[Any]) -> Any | None:
    """Return the key of labels among `names`; None without one.

    `DatasetError` where several have such a name and none is called label.
    """
    found = [name for name in names if names_labels(name)]
    exact = [name for name in found if str(name).strip().lower() == LABEL_KEYS[0]]
    if len(exact) == 1:
        return exact[0]
    if len(found) > 1:
        raise DatasetError(
            f"{place}: several keys may be the label: {quote_names(found)}; choose with label={found[0]!r}"
        )
    return found[0] if found else None


def refuse_labels_in(rows: Sequence[Any], where: str, keys: Sequence[str]) -> None:
    """Raise `DatasetError` if a row that is a dict has labels beside the input, where only inputs are taken.

    `keys` are what the key of the input may be.
    """
    if not any(issubclass(kind, Mapping) for kind in set(map(type, rows))):  # quick for a million texts
        return
    for i, row in enumerate(rows):
        found = [name for name in row if names_labels(name)] if isinstance(row, Mapping) else []
        key = next((name for name in (*keys, "bytes", "array") if name in row), None) if found else None
        if key is not None:
            inputs = "the inputs alone" + (f", as in [row[{key!r}] for row in rows]" if key in keys else "")
            raise DatasetError(
                f"{where}, row {i}: labels ({quote_names(found)}) stand beside the input, and would be lost "
                f"here; give {inputs}, and the labels apart"
            )
