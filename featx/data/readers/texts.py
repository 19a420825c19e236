"""Turn strings, and columns of them, into sources of texts; tell texts from paths of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from featx.data.labels import is_missing
from featx.errors import DatasetError
from featx.inputs import Source
from featx.inputs.image import is_image_file
from featx.inputs.text import SOURCES, LazyText, as_source


def are_texts(rows: Sequence[Any]) -> bool:
    """Return whether rows are texts: sources of texts, or strings that cannot be paths of images.

    Strings are paths if one of them ends like an image file, or is a file that exists.
    """
    if any(isinstance(row, SOURCES) for row in rows):
        return True
    strings = [row for row in rows if isinstance(row, str)]
    if not strings or not all(isinstance(row, str) or is_missing(row) for row in rows):
        return False
    return not any(_may_be_path(text) for text in strings)


def _may_be_path(text: str) -> bool:
    if len(text) > 4096 or "\n" in text or "\0" in text:
        return False
    return is_image_file(text) or os.path.isfile(os.path.expanduser(text))


def make_text_sources(
    rows: Sequence[Any], where: str, ids: Sequence[str] | None = None, *, on_error: str = "raise"
) -> list[Source]:
    """Return the source of each text; an id is by default its position.

    A row that is no text or an empty one is a `DatasetError` that names `where` and the row; with
    ``on_error="skip"`` it fails only when it is read.
    """
    width = len(str(len(rows) - 1))
    found: list[Source] = []
    for i, row in enumerate(rows):
        id = f"{i:0{width}d}" if ids is None else ids[i]
        if isinstance(row, SOURCES):
            found.append(as_source(row, id))
        elif isinstance(row, str) and row.strip():
            found.append(as_source(str(row), id))
        elif on_error == "skip":
            found.append(LazyText(id, lambda row=row: row))  # type: ignore[misc]
        else:
            what = "an empty text" if isinstance(row, str) else f"no text, got {row!r:.60}"
            raise DatasetError(f"{where}, row {i}: {what}; every row needs one")
    return found
