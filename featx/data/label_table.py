"""The table in which a person fills in labels: a .csv of all images, those to label next on top.

Its columns are ``path`` (relative to the table's folder), ``label`` (blank to fill in), ``suggested`` and
``confidence``, then ``split`` and ``group`` if the data has them, then whatever columns the person added. It
is a table that `featx.data.read_table` reads, so it is the data of the studies that follow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featx.data.labels import same_form
from featx.data.readers.table import csv_records, read_csv_text
from featx.errors import DatasetError
from featx.results.writing import write_atomically
from featx.spreadsheet import csv_text, original_cell, safe_cell

_OWN = ("path", "label", "suggested", "confidence", "split", "group")


@dataclass
class LabelTable:
    """A table as a person left it.

    Attributes
    ----------
    file : Path
    rows : dict of str to dict of str to str
        The cells of each row by the names of the columns; by the key of the image (see `key_of`).
    columns : sequence of str
        The columns that featx does not write.
    delimiter : str
        The separator, which depends on the spreadsheet program.
    """

    file: Path
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: Sequence[str] = ()
    delimiter: str = ","
    _folders: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, file: Path) -> LabelTable:
        """Read the table; an empty one if there is no such file.

        Raises
        ------
        DatasetError
            It cannot be read, has no columns path and label, or a path twice.
        """
        if not file.is_file() or not file.stat().st_size:
            return cls(file)
        text, delimiter = read_csv_text(file)
        (_, head), *records = csv_records(file, text, delimiter)
        names = [same_form(original_cell(name.strip())) for name in head]
        names = [name.lower() if name.lower() in _OWN else name for name in names]
        if not {"path", "label"} <= set(names) or len(set(names)) < len(names):
            raise DatasetError(f"{file}: expected one column path and one label, found {', '.join(names)}")
        table = cls(file, {}, [name for name in names if name not in _OWN], delimiter)
        for line, record in records:
            if len(record) != len(names):
                raise DatasetError(f"{file}, row {line}: {len(record)} fields, expected {len(names)}")
            cells = dict(zip(names, (original_cell(cell.strip()) for cell in record), strict=True))
            if not cells["path"]:
                raise DatasetError(f"{file}, row {line}: the path is blank; remove the row")
            key = table.key_of(cells["path"])
            if key in table.rows:
                raise DatasetError(f"{file}, row {line}: {cells['path']} is in two rows; remove one of them")
            table.rows[key] = cells
        return table

    @property
    def labels(self) -> dict[str, str]:
        """The labels that are filled in, by the key of the image."""
        return {key: cells["label"] for key, cells in self.rows.items() if cells["label"]}

    def key_of(self, path: str) -> str:
        """Return what identifies an image, whichever way its path is written; relative to the table."""
        folder, name = os.path.split(os.path.join(os.path.abspath(self.file.parent), path))
        return same_form(os.path.join(self._real(folder), name))

    def path_of(self, path: str) -> str:
        """Return a path as the table has it: relative to its folder, with slashes.

        Raises
        ------
        DatasetError
            The table cannot hold it: it has control characters, or spaces at an end.
        """
        folder, name = os.path.split(os.path.abspath(path))
        path = os.path.join(self._real(folder), name)
        try:
            relative = os.path.relpath(path, self._real(os.path.abspath(self.file.parent)))
        except ValueError:  # on another drive
            relative = path
        cell = relative.replace(os.sep, "/")
        if original_cell(safe_cell(cell).strip()) != cell:
            raise DatasetError(f"{cell!r}: a table cannot hold this name; rename the file")
        return cell

    def write(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Write these rows, in their order; columns that a person added keep their cells.

        Parameters
        ----------
        rows : sequence of mapping of str to str
            ``path``, ``label``, ``suggested`` and ``confidence``, and perhaps ``split`` and ``group``.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        own = [name for name in _OWN if name in _OWN[:4] or any(name in row for row in rows)]
        cells = []
        for row in rows:
            before = self.rows.get(self.key_of(row["path"]), {})
            cells.append(
                [row.get(name, "") for name in own] + [before.get(name, "") for name in self.columns]
            )
        text = csv_text([*own, *self.columns], cells, self.delimiter)
        # Excel takes a file for UTF-8 only if it begins with this mark.
        write_atomically(self.file, text if text.isascii() else f"\ufeff{text}")

    def _real(self, folder: str) -> str:
        """Return the real path of a folder, looked up once."""
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return self._folders[folder]
