"""Decide which columns of a Parquet or Arrow file are read, and name the classes that it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.data.labels import same_form
from featx.data.readers.known_columns import LABEL_KEYS, table_positions
from featx.data.readers.stored.declared import Declared, declared_in_schema, name_of_class
from featx.data.readers.stored.stored_columns import StoredColumn, find_stored_column
from featx.data.readers.text_column import find_text_column
from featx.errors import DatasetError


@dataclass(frozen=True)
class ChosenColumns:
    """What is read of a file.

    Attributes
    ----------
    place : str
        The file.
    stored : StoredColumn or None
        The column of encoded images or clips.
    text : str
        The column of texts, or ``""``.
    names : list of str
        All columns.
    positions : mapping of str to int
        Where the small columns are, by what they are in a `Table`.
    """

    place: str
    stored: StoredColumn | None
    text: str
    names: list[str]
    positions: Mapping[str, int]
    declared: Mapping[str, Declared]
    stored_names: Sequence[str]

    @classmethod
    def of(cls, place: str, schema: Any, text: str | None, asked: list[str]) -> ChosenColumns:
        """Choose by the schema of a file; `DatasetError` where it is not clear."""
        declared = declared_in_schema(schema.metadata)
        stored = find_stored_column(place, schema, declared, text, asked)
        names = [same_form(column) for column in schema.names]
        column = "" if stored is not None else find_text_column(place, names, text, asked)
        where = table_positions(place, names, [*asked, *([column] if column else [])])
        if stored is not None:
            kept = {key for key in where if not stored.replaces(key) or key in asked} - {stored.name}
            where = {key: at for key, at in where.items() if key in kept}
        if not asked and "label" not in where and (found := _label(place, schema.names, declared)):
            where["label"] = schema.names.index(found)
        return cls(place, stored, column, names, where, declared, schema.names)

    def name_classes(self, columns: dict[str, list[Any]]) -> dict[str, Sequence[str]]:
        """Put the names of declared classes into columns, and return them in order, by column.

        Labels that are all missing, as in a test set without public ones, are removed.
        """
        orders: dict[str, Sequence[str]] = {}
        for key, position in self.positions.items():
            about = self.declared.get(self.stored_names[position])
            if about is not None and about.type == "ClassLabel" and about.names:
                orders[key] = about.names
                try:
                    columns[key] = [name_of_class(value, about.names) for value in columns[key]]
                except (DatasetError, TypeError, ValueError) as error:
                    raise DatasetError(f"{self.place}, column {key}: {error}") from error
                if key == "label" and all(value is None for value in columns[key]):
                    del columns[key]
        return orders


def _label(place: str, names: Sequence[str], declared: Mapping[str, Declared]) -> str | None:
    """Return the column of labels that is not called label, in a file that declares its columns."""
    typed = [name for name in names if name in declared and declared[name].type == "ClassLabel"]
    if len(typed) > 1:
        named = ", ".join(map(repr, typed))
        raise DatasetError(
            f"{place}: several columns may be the label: {named}; choose with label={typed[0]!r} "
            f"(--label {typed[0]})"
        )
    named_so = [name for key in LABEL_KEYS for name in names if declared and name.lower() == key]
    return typed[0] if typed else named_so[0] if named_so else None
