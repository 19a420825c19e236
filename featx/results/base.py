"""The base of all results: a kind of result declares fields and columns, and is read, written and shown here.

A new kind is a dataclass with what is its own::

    @dataclass
    class Audit(Result):
        kind: ClassVar[str] = "audit"
        rows: ClassVar[str] = "parts"  # the field that holds the rows of its table
        columns: ClassVar[Sequence[Column]] = (Column("part", "name"), Column("score [95 %]", "score"))

        dataset: dict[str, Any]
        parts: list[Part]
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

from featx.errors import InputError
from featx.results.reading import NOT_STORED, built, read_json, shown
from featx.results.tables import Column, Lines, aligned, html_table, html_text, record_of
from featx.results.writing import make_folder, plain, write_atomically
from featx.spreadsheet import frame_csv
from featx.terminal import printable

if TYPE_CHECKING:
    import pandas

__all__ = ["NOT_STORED", "Column", "DatasetFacts", "Result", "StudyResult"]

#: The kind of files that name none: comparisons of classifiers.
_UNNAMED = "classes"
#: Most characters of a `repr`.
_MOST = 200


class DatasetFacts(TypedDict, total=False):
    """What a file says of the images; see ``dataset`` in the package's docstring."""

    name: str
    task: str
    n: int | None
    n_train: int | None
    n_test: int | None
    n_classes: int | None
    classes: list[str]
    split: str | None
    n_per_class_train: list[int]
    n_per_class_test: list[int]


@dataclass
class Result:
    """What a study found.

    Its dataclass fields are what its JSON file holds, with ``schema`` and ``kind`` before them; a field with
    ``metadata=NOT_STORED`` stays out of it.
    """

    #: ``schema`` and ``kind`` in the file.
    schema: ClassVar[int] = 1
    kind: ClassVar[str]
    #: What messages call it.
    title: ClassVar[str] = "result"
    #: Names of its files; no CSV where the name is empty.
    json_file: ClassVar[str] = "results.json"
    csv_file: ClassVar[str] = "results.csv"
    indent: ClassVar[int] = 2
    #: The field that holds the rows of its table, and the columns of that table.
    rows: ClassVar[str]
    columns: ClassVar[Sequence[Column]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # `dataclass` leaves a __repr__ alone that the class has itself, and writes out all fields otherwise.
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]

    def heading(self) -> str:
        """Return what the result is of, in one line."""
        return str(getattr(self, "dataset", {}).get("name", ""))

    def verdict(self) -> str:
        """Return what the result says, in a few sentences."""
        return ""

    def ranked(self) -> list[Any]:
        """Return the rows in the order in which tables show them."""
        return list(getattr(self, self.rows))

    def lines(self) -> Lines:
        """Return the cells of the table, the headings first."""
        body = [[column.text(self, row) for column in self.columns] for row in self.ranked()]
        return [[column.title for column in self.columns], *body]

    def tables(self) -> list[tuple[str, Lines]]:
        """Return the title and the cells of each table; the first one has no title."""
        return [("", self.lines())]

    def table(self) -> str:
        """Return the tables as plain text for a terminal."""
        parts = [self.heading()]
        for title, lines in self.tables():
            parts += ["", *([title, ""] if title else []), *aligned(lines)]
        return "\n".join(parts)

    def __repr__(self) -> str:
        text = f"{type(self).__name__}({printable(self.heading())})"
        return text if len(text) <= _MOST else f"{text[: _MOST - 2]}…)"

    def _repr_html_(self) -> str:
        tables = "".join(html_table(lines, title) for title, lines in self.tables())
        verdict = "".join(f"<p>{html_text(line)}</p>" for line in self.verdict().splitlines())
        return f"<div><p>{html_text(self.heading())}</p>{tables}{verdict}</div>"

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of `to_frame`, as dicts of column and value."""
        return [record_of(row) for row in self.ranked()]

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows as a data frame, those of the CSV file."""
        import pandas

        records = self.records()
        frame = pandas.DataFrame(records)
        for name in frame:
            kinds = {type(row.get(name)) for row in records}
            if kinds == {int, type(None)}:  # they would become floats
                frame[name] = frame[name].astype("Int64")
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values; NaN and infinities become None."""
        stored = [f.name for f in fields(self) if f.metadata.get("stored", True)]
        content = {"schema": self.schema, "kind": self.kind} | {name: getattr(self, name) for name in stored}
        return {name: plain(value) for name, value in content.items()}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Make a result of what `to_dict` returned.

        Raises
        ------
        InputError
            `content` is of another kind or schema, or a value is missing or of another type.
        """
        found = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
        if type(found) is not int or found != cls.schema:
            raise InputError(
                f"not a {cls.title} this featx can read: schema {cls.schema} expected, got {shown(found)}"
            )
        if (kind := content.get("kind", _UNNAMED)) != cls.kind:
            raise InputError(f"not a {cls.title}: a result of kind {shown(kind)}; expected one of {cls.kind}")
        try:
            return built(cls, content)
        except InputError as error:
            raise InputError(f"a damaged {cls.title}: {error}") from error

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON, all of it or nothing.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=self.indent, ensure_ascii=False, allow_nan=False)
        write_atomically(path, text + "\n")

    @classmethod
    def read_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `write_json` wrote.

        Raises
        ------
        InputError
            The file cannot be read, or is no result of this kind and schema.
        """
        content = read_json(path, cls.json_file)
        try:
            return cls.from_dict(content)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_frame` as CSV (UTF-8), all of it or nothing.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        write_atomically(path, frame_csv(self.to_frame()))

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the files of the result into `directory`: JSON, CSV where there is one, and ``report.html``.

        Parameters
        ----------
        directory : path-like
            Made where it is missing; files of the same names are replaced.

        Returns
        -------
        Path
            The report; the JSON file of a result that has none.

        Raises
        ------
        OutputError
            The folder cannot be made or written.
        """
        folder = make_folder(directory)
        self.write_json(folder / self.json_file)
        if self.csv_file:
            self.write_csv(folder / self.csv_file)
        return self._write_report(folder) or folder / self.json_file

    def check(self) -> None:
        """Refuse what was read from a file and does not fit together.

        Raises
        ------
        InputError
            Naming what does not.
        """

    def _write_report(self, folder: Path) -> Path | None:
        """Write ``report.html``. Studies add it (`featx.studies.output.Reported`), as reports lie above."""
        return None


@dataclass(kw_only=True)
class StudyResult(Result):
    """A result with its advice and with how it was made; see the package's docstring for these fields.

    They are given by name; the fields of a subclass come first.
    """

    forward_passes: int = 0
    advice: str = ""
    failures: list[dict[str, str]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds_total: float | None = None
    command: str | None = None
    warnings: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        """Return the `advice`."""
        return self.advice
