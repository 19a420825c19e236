"""The table in which a person fills in labels: a .csv of all inputs, those to label next on top.

Its columns are ``path`` (relative to the table's folder) for files, with ``start`` and ``end`` in seconds for
segments of recordings, ``id`` and ``text`` for texts that are in no file; then ``label`` (blank to fill in),
``suggested`` and ``confidence``, then ``split`` and ``group`` if the data has them, then whatever columns the
person added. It is a table that `featx.data.read_table` reads, so it is the data of the studies that follow.

A text is found again by its words, because the number of its row changes where rows are added to the data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featx.data.labels import same_form
from featx.data.readers.segments import name_segment, read_segments
from featx.data.readers.table import csv_records, read_csv_text
from featx.errors import DatasetError
from featx.inputs.audio import Segment
from featx.inputs.text import text_words
from featx.places import is_url
from featx.results.writing import write_atomically
from featx.spreadsheet import csv_text, original_cell, safe_cell

_OF_ALL = ("label", "suggested", "confidence", "split", "group")
_OF_FILES, _OF_TEXTS = ("path", *_OF_ALL), ("id", "text", *_OF_ALL)
_OF_SEGMENTS = ("path", "start", "end", *_OF_ALL)
# Letters by which a text is recognised: spreadsheet programs cut off cells of more than 32,767.
_KNOWN_BY = 10_000


@dataclass
class LabelTable:
    """A table as a person left it.

    Attributes
    ----------
    file : Path
    rows : dict of str to dict of str to str
        The cells of each row by the names of the columns; by the key of the input (see `keys_of`).
    columns : sequence of str
        The columns that featx does not write.
    delimiter : str
        The separator, which depends on the spreadsheet program.
    of_texts : bool
        Whether it holds texts, and not paths of files.
    of_segments : bool
        Whether it holds segments of recordings: paths with the columns start and end.
    """

    file: Path
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: Sequence[str] = ()
    delimiter: str = ","
    of_texts: bool = False
    of_segments: bool = False
    _folders: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, file: Path, of_texts: bool = False, of_segments: bool = False) -> LabelTable:
        """Read the table; an empty one if there is no such file.

        Raises
        ------
        DatasetError
            It cannot be read, has no columns path (for texts: text) and label, a path or segment twice, or
            times that are no seconds.
        """
        if not file.is_file() or not file.stat().st_size:
            return cls(file, of_texts=of_texts, of_segments=of_segments)
        own, first = cls(file, of_texts=of_texts, of_segments=of_segments)._own()
        text, delimiter = read_csv_text(file)
        (_, head), *records = csv_records(file, text, delimiter)
        names = [same_form(original_cell(name.strip())) for name in head]
        names = [name.lower() if name.lower() in own else name for name in names]
        if not {first, "label"} <= set(names) or len(set(names)) < len(names):
            raise DatasetError(f"{file}: expected one column {first} and one label, found {', '.join(names)}")
        others = [name for name in names if name not in own]
        table = cls(file, {}, others, delimiter, of_texts, of_segments)
        rows = []
        for line, record in records:
            if len(record) != len(names):
                raise DatasetError(f"{file}, row {line}: {len(record)} fields, expected {len(names)}")
            cells = dict(zip(names, (original_cell(cell.strip()) for cell in record), strict=True))
            if not cells[first]:
                raise DatasetError(f"{file}, row {line}: the {first} is blank; remove the row")
            rows.append(cells)
        keys = table.keys_of([cells[first] for cells in rows], table._segments(rows, records))
        for (line, _), key, cells in zip(records, keys, rows, strict=True):
            if key in table.rows:
                raise DatasetError(f"{file}, row {line}: {cells[first]} is in two rows; remove one of them")
            table.rows[key] = cells
        return table

    @property
    def labels(self) -> dict[str, str]:
        """The labels that are filled in, by the key of the input."""
        return {key: cells["label"] for key, cells in self.rows.items() if cells["label"]}

    def keys_of(self, inputs: Sequence[str], segments: Sequence[Segment] = ()) -> list[str]:
        """Return what identifies inputs, given as paths, or as texts: of equal texts their order does.

        Paths of recordings are given with the segment of each.
        """
        if not self.of_texts:
            keys = [self.key_of(path) for path in inputs]
            return [name_segment(*both) for both in zip(keys, segments, strict=True)] if segments else keys
        seen: dict[str, int] = {}
        keys = []
        for text in inputs:
            words = " ".join(text_words(text[:_KNOWN_BY]))
            seen[words] = seen.get(words, 0) + 1
            keys.append(f"{seen[words]} {words}")
        return keys

    def key_of(self, path: str) -> str:
        """Return what identifies a file, whichever way its path is written; relative to the table."""
        if is_url(path):
            return path
        folder, name = os.path.split(os.path.join(os.path.abspath(self.file.parent), path))
        return same_form(os.path.join(self._real(folder), name))

    def path_of(self, path: str) -> str:
        """Return a path as the table has it: relative to its folder, with slashes; a URL as it is.

        Raises
        ------
        DatasetError
            The table cannot hold it: it has control characters, or spaces at an end.
        """
        cell = path if is_url(path) else self._relative(path).replace(os.sep, "/")
        if original_cell(safe_cell(cell).strip()) != cell:
            raise DatasetError(f"{cell!r}: a table cannot hold this name; rename the file")
        return cell

    def _relative(self, path: str) -> str:
        folder, name = os.path.split(os.path.abspath(path))
        path = os.path.join(self._real(folder), name)
        try:
            return os.path.relpath(path, self._real(os.path.abspath(self.file.parent)))
        except ValueError:  # on another drive
            return path

    def write(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Write these rows, in their order; columns that a person added keep their cells.

        Parameters
        ----------
        rows : sequence of mapping of str to str
            ``path`` (or ``id`` and ``text``), ``label``, ``suggested`` and ``confidence``, and perhaps
            ``start``, ``end``, ``split`` and ``group``.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        possible, first = self._own()
        own = [name for name in possible if name not in _OF_ALL[3:] or any(name in row for row in rows)]
        keys = self.keys_of([row[first] for row in rows], self._segments(rows))
        cells = []
        for key, row in zip(keys, rows, strict=True):
            before = self.rows.get(key, {})
            if self.of_texts:  # where the table itself is the data, ids would be those of its last order
                row = {**row, "id": before.get("id") or row["id"]}
            cells.append(
                [row.get(name, "") for name in own] + [before.get(name, "") for name in self.columns]
            )
        exact = ("text",) if self.of_texts else ()
        text = csv_text([*own, *self.columns], cells, self.delimiter, exact=exact)
        # Excel takes a file for UTF-8 only if it begins with this mark.
        write_atomically(self.file, text if text.isascii() else f"\ufeff{text}")

    def _own(self) -> tuple[Sequence[str], str]:
        """Return the columns that featx writes, and the one of inputs."""
        if self.of_texts:
            return _OF_TEXTS, "text"
        return _OF_SEGMENTS if self.of_segments else _OF_FILES, "path"

    def _segments(
        self, rows: Sequence[Mapping[str, str]], records: Sequence[tuple[int, Any]] = ()
    ) -> Sequence[Segment]:
        """Return the segments of rows; `records` begin with their lines, for an error."""
        if not self.of_segments:
            return ()
        times = {name: [row.get(name, "") for row in rows] for name in ("start", "end")}
        found = read_segments(times, len(rows))
        for i, (column, problem) in found.wrong.items():
            raise DatasetError(f"{self.file}, row {records[i][0]}, column {column}: {problem}")
        return found.of_rows

    def _real(self, folder: str) -> str:
        """Return the real path of a folder, looked up once."""
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return self._folders[folder]
