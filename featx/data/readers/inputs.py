"""Turn rows in memory into sources of one kind: images or texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.data.dataset import Dataset
from featx.data.readers.images import images_of, list_rows, take_column
from featx.data.readers.texts import TEXT_KEYS, make_text_sources, text_in, texts_in
from featx.errors import DatasetError
from featx.inputs import Source
from featx.kinds import KINDS
from featx.options.checks import one_of


def inputs_of(X: Any, kind: str | None = None) -> list[Source]:
    """Return the inputs in `X` as sources, with the path or the position as id.

    Parameters
    ----------
    X : Dataset, sequence, array, or column or one-column data frame of pandas, polars or pyarrow
        One input per row: images as for `images_of`, or texts: strings, `pathlib.Path` of text files, or
        dicts with one of the keys in `TEXT_KEYS`.
    kind : {"image", "text"}, optional
        With ``"text"`` every string is a text, never a path; with ``"image"`` every string is a path. By
        default the strings decide, see `featx.data.readers.texts.texts_in`.

    Raises
    ------
    DatasetError
        Naming the row and, in a data frame, the column.
    """
    one_of(*KINDS, optional=True)("kind", kind)
    if kind == "image" or isinstance(X, Dataset):
        return images_of(X)
    column, where = take_column(X, TEXT_KEYS, "text" if kind else "input")
    rows = list_rows(column, where, kind or "input")
    if kind and not rows:
        raise DatasetError(f"{where}: no texts: 0 rows (shape=(0,)) while a minimum of 1 is required.")
    if rows and all(isinstance(row, Mapping) for row in rows) and (kind or text_in(rows[0]) is not None):
        rows = [_text(row, f"{where}, row {i}") for i, row in enumerate(rows)]
    texts = texts_in(rows, kind)
    return images_of(X) if texts is None else make_text_sources(texts, where)


def _text(row: Mapping[str, Any], at: str) -> Any:
    key = text_in(row)
    if key is None:
        raise DatasetError(f"{at}: a dict without a text; found: {', '.join(map(str, row)) or 'nothing'}")
    return row[key]
