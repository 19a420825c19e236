"""Find the column of texts in a table, and tell a table without a header by its first row."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featx.data.labels import is_missing, same_form
from featx.data.readers.images import IMAGE_KEYS
from featx.data.readers.known_columns import AUDIO_KEYS, COLUMNS, LABEL_KEYS
from featx.data.readers.texts import TEXT_KEYS, is_image_path
from featx.errors import DatasetError, UnknownName
from featx.inputs.text import is_text_file
from featx.terminal import shortened

# Columns of images and clips, whatever else a table has; a column `file` may be the origin of a text.
_OF_FILES = ("path", "image", "img", "image_path", *AUDIO_KEYS)
# Names that only a header has.
_HEADERS = frozenset(
    (*COLUMNS, *TEXT_KEYS, *IMAGE_KEYS, *AUDIO_KEYS, *LABEL_KEYS, "id", "idx", "index", "sentiment")
)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
# Rows that are looked at to see what a column holds.
_LOOKED_AT = 10_000


def find_text_column(place: str, names: Sequence[str], text: str | None, asked: Sequence[str]) -> str:
    """Return the name of the column of texts; ``""`` for a table of files.

    Parameters
    ----------
    names : sequence of str
        All columns.
    text : str or None
        The column that was asked for. Without it, a table with a column of images or clips has no texts; else
        it is the first of `TEXT_KEYS`, in any case.
    asked : sequence of str
        Columns of labels and of groups that were asked for.

    Raises
    ------
    DatasetError
        There is no such column, it is asked for as a label, too, or it has another meaning.
    """
    if text is not None:
        column = same_form(text)
        if column not in names:
            raise DatasetError(f"{place}: {UnknownName('column', column, names)}; text (--text) names one")
        if column in asked or column.strip().lower() in COLUMNS[1:]:
            raise DatasetError(
                f"{place}: column {column} cannot be the text and the {_role(column, asked)}; "
                "text (--text) names the column of texts"
            )
        return column
    lower = [name.strip().lower() for name in names]
    if any(name in _OF_FILES for name in lower):
        return ""
    for key in TEXT_KEYS:
        free = [i for i, name in enumerate(lower) if name == key and names[i] not in asked]
        if len(free) > 1:
            raise DatasetError(f"{place}: {len(free)} columns are named {key}; keep one")
        if free:
            return names[free[0]]
    return ""


def _role(column: str, asked: Sequence[str]) -> str:
    return "label or group" if column in asked else column.strip().lower()


def text_candidates(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return a hint at columns that could be texts, because most values are several words; or ``""``."""
    found = [name for name, values in columns.items() if holds_texts(values)]
    if not found:
        return ""
    named = " or ".join(repr(shortened(name, 40)) for name in found[:4])
    return f"{named} would do for texts: text={found[0]!r} (--text {shlex.quote(found[0])})"


def holds_texts(values: Sequence[Any]) -> bool:
    """Whether most of the first values are strings of several words, and most of these are distinct."""
    present = [value for value in values[:_LOOKED_AT] if not is_missing(value)]
    texts = [value for value in present if isinstance(value, str) and _is_prose(value)]
    return 2 * len(texts) > len(present) and 2 * len(set(texts)) > len(texts)


def _is_prose(value: str) -> bool:
    return len(value.split(None, 1)) > 1 and not is_image_path(value) and not is_text_file(value)


def refuse_numbers(
    place: str, column: str, values: Sequence[Any], hint: Callable[[], str] = lambda: ""
) -> None:
    """Raise `DatasetError` if a column of texts holds numbers; `hint` may read the table again."""
    present = [value for value in values if not is_missing(value)]
    if present and not any(isinstance(value, str) and not _NUMBER.fullmatch(value) for value in present):
        told = hint()
        raise DatasetError(
            f"{place}: column {column} holds numbers or other values, and no texts: {present[0]!r:.40}"
            + (f"; {told}" if told else "")
        )


def has_known_name(first_row: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether a cell is the name of a column that tables have, or that was `asked` for."""
    return any(name in asked or name.lower() in _HEADERS for name in first_row)


def columns_without_header(records: Sequence[Sequence[str]]) -> list[str] | None:
    """Return names for the columns of a table without a header; None if its first row may be one.

    `records` are all rows. Exactly one column must hold texts, and exactly one other few values, of which the
    first row has one that later rows have, too. The first row must not have a known name in it.
    """
    first = records[0]
    if len(first) < 2 or any(len(record) != len(first) for record in records):
        return None
    texts, labels = [], []
    for i in range(len(first)):
        values = [record[i].strip() for record in records[:_LOOKED_AT]]
        rest = set(values[1:])
        if holds_texts(values):
            texts.append(i)
        elif values[0] in rest and len(rest) <= max(2, len(values) // 2):
            labels.append(i)
    if len(texts) != 1 or len(labels) != 1:
        return None
    names = [str(i + 1) for i in range(len(first))]
    names[texts[0]], names[labels[0]] = "text", "label"
    return names
