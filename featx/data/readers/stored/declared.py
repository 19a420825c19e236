"""What datasets of Hugging Face declare of their columns, in the schema of a file or in their `features`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.errors import DatasetError


@dataclass(frozen=True)
class Declared:
    """The type of a column, such as ``"Image"`` or ``"ClassLabel"``, and the names of its classes."""

    type: str
    names: tuple[str, ...] = ()


def declared_in_schema(metadata: Mapping[bytes, bytes] | None) -> dict[str, Declared]:
    """Return what the schema of a file declares; nothing if no dataset of Hugging Face wrote it."""
    try:
        about = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = about["info"]["features"]
        return {
            str(name): Declared(str(one["_type"]), tuple(map(str, one.get("names") or ())))
            for name, one in features.items()
            if isinstance(one, dict) and "_type" in one
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def name_of_class(value: Any, names: Sequence[str]) -> Any:
    """Return the name for a ClassLabel index; None for -1 and None, which mean "no label"."""
    if value is None or isinstance(value, str):
        return value
    index = int(value)
    if index >= len(names):
        raise DatasetError(f"label {index} is no index into the {len(names)} classes of its ClassLabel")
    return names[index] if index >= 0 else None
