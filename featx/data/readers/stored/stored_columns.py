"""Find the column of encoded images or clips in the schema of a file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.data.labels import same_form
from featx.data.readers.clips import is_audio_data
from featx.data.readers.images import IMAGE_KEYS
from featx.data.readers.known_columns import AUDIO_KEYS, FILE_KEYS
from featx.data.readers.stored.declared import Declared
from featx.errors import DatasetError
from featx.places import PlaceError

#: Types of inputs that datasets of Hugging Face declare.
KINDS = {"Image": "image", "Audio": "clip"}
_BINARY = ("binary", "large_binary")
# Rows that are looked at to tell images from clips, and bytes of each.
_LOOKED_AT, _HEAD = 100, 32


@dataclass(frozen=True)
class StoredColumn:
    """A column of bytes, or of ``{bytes, path}``; paths from the root of the schema."""

    name: str
    bytes: tuple[str, ...]
    files: tuple[str, ...] | None
    kind: str | None  # "image" or "clip"; None if the bytes are to tell

    def replaces(self, column: str) -> bool:
        """Whether another column would be the inputs of a table without this one."""
        return column in ("path", *AUDIO_KEYS, *FILE_KEYS) or column == self.name


def find_stored_column(
    place: str, schema: Any, declared: Mapping[str, Declared], text: str | None, asked: Sequence[str]
) -> StoredColumn | None:
    """Return the column of encoded inputs of a schema of pyarrow; None if its inputs are others.

    It is the column that is declared as images or audio; else the one of ``{bytes, path}``; else the only one
    of bytes in a table without paths and texts. A name in `AUDIO_KEYS` or `IMAGE_KEYS` decides among several.

    Raises
    ------
    DatasetError
        Several columns may be the inputs.
    """
    if text is not None:
        return None
    free = [field for field in schema if same_form(field.name) not in asked]
    encoded = [field for field in schema if _fields(field.type) is not None]
    typed = [f for f in encoded if f.name in declared and declared[f.name].type in KINDS]
    plain = [field for field in free if str(field.type) in _BINARY]
    lower = [name.strip().lower() for name in schema.names]
    named = [field for field in plain if field.name.strip().lower() in (*IMAGE_KEYS, *AUDIO_KEYS)]
    if "path" in lower:  # a thumbnail beside files
        plain = named = [field for field in named if field.name in declared]
    for found in (typed, encoded, named, plain):
        if found:
            return _stored(_chosen(place, found), declared)
    return None


def _chosen(place: str, fields: Sequence[Any]) -> Any:
    if len(fields) == 1:
        return fields[0]
    for key in (*AUDIO_KEYS[:1], *IMAGE_KEYS[:1]):
        of_key = [field for field in fields if field.name.strip().lower() == key]
        if len(of_key) == 1:
            return of_key[0]
    named = ", ".join(repr(field.name) for field in fields[:5])
    raise DatasetError(
        f"{place}: several columns may be the inputs: {named}; rename one to image or audio"
        f" ({shlex.quote(fields[0].name)} is the first)"
    )


def _stored(field: Any, declared: Mapping[str, Declared]) -> StoredColumn:
    about = declared.get(field.name)
    kind = KINDS.get(about.type) if about is not None else None
    inside = _fields(field.type)
    if inside is None:
        return StoredColumn(field.name, (field.name,), None, kind)
    files = (field.name, "path") if "path" in inside else None
    return StoredColumn(field.name, (field.name, "bytes"), files, kind)


def _fields(type: Any) -> list[str] | None:
    """Return the names in a structure of bytes, and maybe a path; None for any other type."""
    if not hasattr(type, "num_fields") or not str(type).startswith("struct<"):
        return None
    fields = {type.field(i).name: str(type.field(i).type) for i in range(type.num_fields)}
    if fields.get("bytes") not in _BINARY or not fields.keys() <= {"bytes", "path"}:
        return None
    return list(fields)


def kind_of_stored(stored: StoredColumn, column: Any) -> str:
    """Return the kind of the inputs by the first bytes, else by the column's name."""
    for row in range(min(len(column), _LOOKED_AT)):
        try:
            data = column.value(row)
        except PlaceError:
            break
        if data is not None and len(data):
            return "clip" if is_audio_data(bytes(data[:_HEAD])) else "image"
    return "clip" if stored.name.strip().lower() in AUDIO_KEYS else "image"
