"""Turn strings, and columns of them, into sources of texts; tell texts from paths."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featx.data.labels import is_missing
from featx.data.readers.urls import stored_at
from featx.errors import DatasetError
from featx.inputs import Source
from featx.inputs.image import is_image_file
from featx.inputs.text import SOURCES, LazyText, StoredText, as_source, is_text_file
from featx.inputs.text.source import MOST_CHARACTERS, too_long
from featx.options.checks import short
from featx.places import is_url, shown
from featx.places.urls import named

#: Names of the column or key of texts in rows with several; the first that exists is taken.
TEXT_KEYS = ("text", "sentence", "review", "document", "content", "comment", "message", "body", "title")
#: A byte that is not UTF-8, as ``surrogateescape`` decodes it.
ESCAPED = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# How many strings are looked up on the disk, spread over all of them.
_LOOKED_UP = 200
# A longer string is no path on any system.
_LONGEST_PATH = 4096
# A suffix, with what crawlers append to it, is hardly longer.
_LONGEST_SUFFIX = 100


def text_in(row: Mapping[str, Any]) -> str | None:
    """Return the key of the text in a row that is a dict; None without one of `TEXT_KEYS`."""
    return next((key for key in TEXT_KEYS if key in row), None)


def texts_in(rows: Sequence[Any], kind: str | None = None) -> list[Any] | None:
    """Return rows as texts, with a `Path` for each text file; None if they are images.

    Parameters
    ----------
    rows : sequence
        Strings, `Path` objects, sources, and anything that may be an image; some may be missing.
    kind : {"image", "text", "clip"}, optional
        With it, nothing is looked at: every string is a text, or an image's path.

    Notes
    -----
    Without `kind`, rows are texts if one is a source of a text, or if more than half of them are strings that
    are not paths. They are paths if more than half of them are files that exist, or end like an image or a
    text file: so a sentence that ends with ``.png`` is a text among sentences, and a mistyped path of an
    image is a path among paths. Existence is looked up for some 200 strings, spread over all rows. Paths
    are files of texts if more of them end in ``.txt`` than like an image.

    Raises
    ------
    DatasetError
        If the path of an image that exists is among texts.
    """
    if kind is not None:
        return list(rows) if kind == "text" else None
    if any(isinstance(row, SOURCES) for row in rows):
        return list(rows)
    given = [row for row in rows if not is_missing(row)]
    names = [os.fspath(row) for row in given if isinstance(row, (str, Path))]
    if 2 * len(names) <= len(given):
        return None
    of_texts = sum(map(_is_text_path, names))
    # A URL without a suffix may be one of an image; a list of texts that are URLs says kind="text".
    of_images = sum(
        is_image_path(name) or ("://" in name and is_url(name) and not _is_text_path(name)) for name in names
    )
    if 2 * (of_texts + of_images) <= len(names) and not _are_files(names):
        if all(isinstance(row, Path) for row in given):
            return None  # files without a known suffix, as images may be
        _refuse_images(rows)
        return list(rows)
    return (
        [_text_file(row) if isinstance(row, str) else row for row in rows] if of_texts > of_images else None
    )


def _text_file(row: str) -> Path | Source:
    return stored_at(row, shown(row), "text") if is_url(row) else Path(row)


def _may_be_path(text: str) -> bool:
    return len(text) <= _LONGEST_PATH and "\n" not in text and "\0" not in text


def _is_text_path(text: str) -> bool:
    return is_text_file(named(text) if "://" in text else text) and _may_be_path(text)


def is_image_path(text: str) -> bool:
    """Whether a string ends like the name of an image file; quick for sentences."""
    ending = text[-_LONGEST_SUFFIX:].rpartition(".")[2]
    return len(ending.split()) == 1 and _may_be_path(text) and is_image_file(text)


def _are_files(names: Sequence[str]) -> bool:
    """Whether more than half of some strings, spread over all of them, are files that exist."""
    some = names[:: -(-len(names) // _LOOKED_UP)]
    return 2 * sum(_exists(name) for name in some) > len(some)


def _exists(name: str) -> bool:
    return _may_be_path(name) and os.path.isfile(os.path.expanduser(name))


def _refuse_images(rows: Sequence[Any]) -> None:
    for i, row in enumerate(rows):
        if isinstance(row, str) and is_image_path(row) and _exists(row):
            raise DatasetError(
                f"row {i}: {short(row)} is the path of an image among texts; give images and texts apart"
            )


def make_text_sources(
    rows: Sequence[Any], where: str, ids: Sequence[str] | None = None, *, on_error: str = "raise"
) -> list[Source]:
    """Return the source of each text; an id is by default its position, or the path of a file.

    A row that is no text or an empty one is a `DatasetError` that names `where` and the row; with
    ``on_error="skip"`` it fails only when it is read.
    """
    width = len(str(len(rows) - 1))
    found: list[Source] = []
    for i, row in enumerate(rows):
        file = isinstance(row, Path)
        name = row.as_posix() if file else row.id if isinstance(row, StoredText) else f"{i:0{width}d}"
        id = name if ids is None else ids[i]
        if file or isinstance(row, SOURCES):
            found.append(as_source(row, id))
            continue
        problem = problem_of(row)
        if problem and on_error == "raise":
            raise DatasetError(f"{where}, row {i}: {problem}; every row needs a text")
        # What is wrong with it is found again when it is read.
        found.append(LazyText(id, lambda row=row: row) if problem else as_source(str(row), id))  # type: ignore[misc]
    return found


def problem_of(row: Any) -> str:
    """Say in a few words what is wrong with a row that should be a text; ``""`` if nothing is."""
    if not isinstance(row, str):
        return "no text" if is_missing(row) else f"expected a text, got {short(row)} ({type(row).__name__})"
    if not row.strip():
        return "an empty text"
    if len(row) > MOST_CHARACTERS:
        return too_long(row)
    if "\0" in row:
        return "holds null bytes, so it is no text"
    if row.isascii() or row.isprintable():
        return ""
    if ESCAPED.search(row):
        return "not UTF-8 text"
    half = _SURROGATE.search(row)
    return f"character {half.start()} is half of a pair (a lone surrogate)" if half else ""
