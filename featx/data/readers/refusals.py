"""Refuse options that do not fit what is read: columns of data without any, folders of what is no folder."""

from __future__ import annotations

from typing import Any

from featx.data.readers.table import SUFFIXES
from featx.data.tasks import names_of
from featx.errors import DatasetError, InputError


def refuse_columns_of_tables(columns: dict[str, Any], what: str) -> None:
    """Take `text` and `group` out of the columns that are asked for; `DatasetError` if one is given."""
    for name in ("text", "group"):
        column = columns.pop(name, None)
        if column is not None:
            raise DatasetError(
                f"{what}: {name} (--{name}) chooses a column of a table, and this is no table; give one of "
                f"{', '.join(SUFFIXES)} with the column {column}, or leave it out"
            )


def refuse_columns(columns: dict[str, Any], what: str) -> None:
    """Raise `DatasetError` if a column is asked for, of data without columns; take `text` and `group` out."""
    refuse_columns_of_tables(columns, what)
    asked = [name for name in ("label", "target") if columns[name] is not None]
    if asked:
        named = [column for name in asked for column in names_of(columns[name])]
        raise DatasetError(
            f"{what}: {asked[0]} (--{asked[0]}) chooses a column of a table, and this is no table; give "
            f"one of {', '.join(SUFFIXES)} with the columns path (or text) and {' and '.join(named)}"
        )


def refuse_division(split_by: str | None, what: str) -> None:
    """Raise `InputError` if what is no folder is to be divided by the folders in it."""
    if split_by == "folder":
        raise InputError(
            f"{what}: not a folder; split_by='folder' (--split-by folder) divides one by the folders in it"
        )
