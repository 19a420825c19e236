"""Sources of texts: strings in memory, text files, and functions that return a string.

Each implements `featx.inputs.Source`. The digest is that of the text's UTF-8 bytes, wherever it comes from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.cache.identity import digest_bytes
from featx.errors import DatasetError, TextError
from featx.inputs import Source
from featx.inputs.files import file_stat_key, read_place, read_source_file
from featx.places import Place, StatKey

#: Suffixes of files that hold one text.
TEXT_SUFFIXES = (".txt",)
#: Most characters of a text; long novels have three million. A tokenizer takes some hundred bytes for each.
MOST_CHARACTERS = 2**22
#: Most bytes of a text file that is read; a character has at most four.
MAX_FILE_BYTES = 4 * MOST_CHARACTERS


def is_text_file(name: str) -> bool:
    """Whether a file of this name holds one text, by its suffix."""
    return name.lower().endswith(TEXT_SUFFIXES)


def too_long(text: str) -> str:
    """Say that a text has more than `MOST_CHARACTERS`."""
    return f"{len(text)} characters, expected at most {MOST_CHARACTERS}; divide it into several texts"


@dataclass(frozen=True, slots=True)
class TextContent:
    """A text that was read (`featx.inputs.Content`).

    Attributes
    ----------
    digest : bytes
        32 bytes of BLAKE2b of its UTF-8 bytes.
    id : str
    text : str
    """

    digest: bytes
    id: str
    text: str = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds, about."""
        return 2 * len(self.text)

    @classmethod
    def of(cls, text: object, id: str) -> TextContent:
        """Return the content of a string; `TextError` for an empty one, and for what is no valid text."""
        if not isinstance(text, str):
            raise TextError(id, f"expected a text, got {type(text).__name__}")
        if not text.strip():
            raise TextError(id, "an empty text")
        if len(text) > MOST_CHARACTERS:
            raise TextError(id, too_long(text))
        if "\0" in text:
            raise TextError(id, "holds null bytes, so it is no text")
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TextError(
                id, f"character {error.start} is half of a pair (a lone surrogate), so this is no valid text"
            ) from error
        return cls(digest_bytes(data), id, text)


@dataclass(frozen=True, slots=True)
class StringText:
    """A text in memory."""

    id: str
    text: str = field(repr=False)
    kind = "text"
    is_file = False

    def read(self) -> TextContent:
        """Return the text with its digest."""
        return TextContent.of(self.text, self.id)

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


@dataclass(frozen=True, slots=True)
class FileText:
    """A text file on disk: UTF-8, with or without a byte order mark."""

    id: str
    path: str
    kind = "text"
    is_file = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))

    def read(self) -> TextContent:
        """Read the file; `TextError` where it cannot be read, is not UTF-8 or is empty."""
        return _decoded(read_source_file(self.path, self.id, TextError, MAX_FILE_BYTES), self.id)

    def stat_key(self) -> tuple[str, int, int, int] | None:
        """Return (absolute path, size, mtime in ns, ctime in ns), or None where there is no regular file."""
        return file_stat_key(self.path)


@dataclass(frozen=True, slots=True)
class StoredText:
    """A text file in an archive or a remote store: UTF-8, with or without a byte order mark."""

    id: str
    place: Place
    kind = "text"
    is_file = True

    def read(self) -> TextContent:
        """Read the place; `TextError` where it cannot be read, is not UTF-8 or is empty."""
        return _decoded(read_place(self.place, self.id, TextError, MAX_FILE_BYTES), self.id)

    def stat_key(self) -> StatKey | None:
        """Return what names the place's present state, or None where that is not known."""
        return self.place.stat_key()


def _decoded(data: bytes, id: str) -> TextContent:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TextError(id, f"not UTF-8 text (line {line}); save the file as UTF-8") from error
    return TextContent.of(text, id)


@dataclass(frozen=True, slots=True, eq=False)
class LazyText:
    """A text that a function returns when it is needed, such as a row of a dataset."""

    id: str
    load: Callable[[], object] = field(repr=False)
    kind = "text"
    is_file = False

    def read(self) -> TextContent:
        """Call `load`; `TextError` when it gives no text."""
        return TextContent.of(self.load(), self.id)

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


#: All sources of texts.
SOURCES = (StringText, FileText, StoredText, LazyText)


def as_source(obj: object, id: str) -> Source:
    """Make the source of a string or of the path of a text file; rename what is a source already.

    `DatasetError` for any other object. A string is a text, never a path.
    """
    if isinstance(obj, SOURCES):
        return obj if obj.id == id else replace(obj, id=id)
    if isinstance(obj, str):
        return StringText(id, str(obj))
    if isinstance(obj, Path):
        return FileText(id, os.fspath(obj.expanduser()))
    raise DatasetError(f"{id}: expected a text, got {type(obj).__name__}")
