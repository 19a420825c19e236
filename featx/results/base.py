"""The base class of all results, which reads, writes and shows what a kind of result declares.

A new kind is a dataclass with its own fields and columns::

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
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

from featx.errors import InputError
from featx.kinds import KINDS, kind_of, picture_of
from featx.results.reading import NOT_STORED, parse_as, quoted, read_json
from featx.results.runs import RunFacts
from featx.results.shown import Shown
from featx.results.tables import Column, Lines, align_columns, flatten_row, html_table, html_text
from featx.results.writing import make_writable_folder, plain, write_atomically
from featx.spreadsheet import frame_csv
from featx.terminal import shortened

if TYPE_CHECKING:
    import pandas

__all__ = ["NOT_STORED", "AdvisedResult", "Column", "DatasetFacts", "Result", "StudyResult"]

#: Kind of a file without the key ``kind``: a comparison of classifiers.
_DEFAULT_KIND = "classes"
#: Characters of a text in a table.
_BEGINNING = 40


class DatasetFacts(TypedDict, total=False):
    """The key ``dataset`` of a file; see the package's docstring."""

    name: str
    kind: str
    task: str
    n: int | None
    n_train: int | None
    n_test: int | None
    n_classes: int | None
    classes: list[str]
    split: str | None
    n_unlabelled: int
    n_per_class_train: list[int]
    n_per_class_test: list[int]


class SearchFacts(TypedDict, total=False):
    """The key ``search_for_copies`` of a file; see the package's docstring."""

    seconds: float
    earlier_run: str | None


class UnitFacts(TypedDict, total=False):
    """The key ``units`` of a file; see the package's docstring."""

    images: int
    units: int
    groups: bool
    copies: int | None
    groups_per_class: list[int] | None


@dataclass
class Result(Shown):
    """What a study found.

    Its JSON file holds ``schema``, ``kind`` and each dataclass field, except those with
    ``metadata=NOT_STORED``.
    """

    _line_by_line: ClassVar[bool] = True
    #: ``schema`` and ``kind`` in the file.
    schema: ClassVar[int] = 1
    kind: ClassVar[str]
    #: The name of this kind in messages.
    title: ClassVar[str] = "result"
    #: Names of the files; an empty name means no CSV file.
    json_file: ClassVar[str] = "results.json"
    csv_file: ClassVar[str] = "results.csv"
    indent: ClassVar[int] = 2
    #: The field with the rows of the table, and the columns of that table.
    rows: ClassVar[str]
    columns: ClassVar[Sequence[Column]] = ()

    @property
    def input_kind(self) -> str:
        """The kind of the inputs, such as ``"text"``: as the data state it, else the space of the rows."""
        sets = getattr(self, "sets", [])
        about = [*(getattr(self, name, None) for name in ("dataset", "source", "target")), *sets]
        stated = [one.get("kind") for one in about if isinstance(one, Mapping)]
        spaces = getattr(self, "spaces", [])
        spaces = [getattr(self, "space", None), *(spaces.values() if isinstance(spaces, Mapping) else spaces)]
        stated += [kind_of(one.get("preprocessing")) for one in spaces if isinstance(one, Mapping)]
        return next((str(kind) for kind in stated if kind in KINDS), "image")

    def heading(self) -> str:
        """Describe the data and the methods in one line."""
        return str(getattr(self, "dataset", {}).get("name", ""))

    def verdict(self) -> str:
        """State the conclusion in a few sentences."""
        return ""

    def named_input(self, id: str, key: Any = None) -> str:
        """Return an id, with the beginning of the text if it is one and the study has just shown it.

        `key` finds it among the samples if it is not the id.
        """
        text = getattr(self, "samples", {}).get(id if key is None else key)
        return id if not isinstance(text, str) else f"{id}: {shortened(' '.join(text.split()), _BEGINNING)}"

    def ranked(self) -> list[Any]:
        """Return the rows in the order in which tables show them."""
        return list(getattr(self, self.rows))

    def lines(self) -> Lines:
        """Return the cells of the table, the headings first."""
        body = [[column.text(self, row) for column in self.columns] for row in self.ranked()]
        return [[column.heading(self) for column in self.columns], *body]

    @property
    def next_steps(self) -> list[str]:
        """Lines to paste for what comes next: commands, or calls in Python; none for most studies."""
        return []

    def tables(self) -> list[tuple[str, Lines]]:
        """Return the title and the cells of each table; the first one has no title."""
        return [("", self.lines())]

    def table(self, width: int | None = None) -> str:
        """Return the tables as plain text for a terminal of `width` characters; None: of any width."""
        parts = [self.heading()]
        for title, lines in self.tables():
            parts += ["", *([title, ""] if title else []), *align_columns(lines, width)]
        return "\n".join(parts)

    def _facts(self) -> dict[str, str]:
        # A sentence ends before a capital letter: "p = 0.98. No" but not "0.98".
        first = re.split(r"(?<=[.!?])\s+(?=[A-Z])", self.verdict(), maxsplit=1)[0]
        facts = {"": self.heading(), "best": self._best_in_words(), "advice": first}
        return {name: text for name, text in facts.items() if text or not name}

    def _best_in_words(self) -> str:
        """Name the best row with its score; empty if the first sentence of the verdict does, or none is."""
        return ""

    def _repr_html_(self) -> str:
        tables = "".join(html_table(lines, title) for title, lines in self.tables())
        verdict = "".join(f"<p>{html_text(line)}</p>" for line in self.verdict().splitlines())
        return f"<div><p>{html_text(self.heading())}</p>{tables}{verdict}</div>"

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of `to_frame`, as dicts of column and value."""
        return [flatten_row(row) for row in self.ranked()]

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
        """Make a result from what `to_dict` returned.

        Raises
        ------
        InputError
            `content` has another kind or schema, or a value is missing or has the wrong type.
        """
        found = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
        if type(found) is not int or found != cls.schema:
            raise InputError(
                f"not a {cls.title} this featx can read: schema {cls.schema} expected, got {quoted(found)}"
            )
        if (kind := content.get("kind", _DEFAULT_KIND)) != cls.kind:
            raise InputError(
                f"not a {cls.title}: a result of kind {quoted(kind)}; expected one of {cls.kind}"
            )
        try:
            # A file without the time it was written must not get the time it is read.
            return parse_as(cls, {"created": ""} | dict(content))
        except InputError as error:
            raise InputError(f"a damaged {cls.title}: {error}") from error

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON in one step: the file is the old one or the complete new one.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=self.indent, ensure_ascii=False, allow_nan=False)
        write_atomically(path, text + "\n")

    @classmethod
    def read_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file of `write_json`.

        Raises
        ------
        InputError
            The file cannot be read, or holds another kind or schema.
        """
        content = read_json(path, cls.json_file)
        try:
            return cls.from_dict(content)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_frame` as CSV (UTF-8), as `write_json` writes JSON."""
        write_atomically(path, frame_csv(self.to_frame()))

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the JSON file, the CSV file (if this kind has one) and ``report.html``.

        Parameters
        ----------
        directory : path-like
            Created if missing; files of the same names are replaced.

        Returns
        -------
        Path
            The report, or the JSON file if there is no report.

        Raises
        ------
        OutputError
            The folder cannot be created or written.
        """
        folder = make_writable_folder(directory)
        self.write_json(folder / self.json_file)
        if self.csv_file:
            self.write_csv(folder / self.csv_file)
        return self._write_report(folder) or folder / self.json_file

    def check(self) -> None:
        """Raise `InputError` if fields read from a file contradict each other."""

    def _write_report(self, folder: Path) -> Path | None:
        """Write ``report.html``, in `featx.studies.output.Reported`: reports lie above this package."""
        return None


@dataclass(kw_only=True)
class StudyResult(Result):
    """A result that says how it was made; the package's docstring describes the fields, all keyword-only."""

    #: The inputs that `units` is about, in words around those for the inputs.
    unit_inputs: ClassVar[str] = "test {}"

    forward_passes: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds_total: float | None = None
    command: str | None = None
    #: The options of the study as words of the command line, where `command` runs an experiment file.
    options: list[str] = field(default_factory=list, compare=False, repr=False, metadata=NOT_STORED)
    runs: list[dict[str, Any]] = field(default_factory=list, metadata={"json": list[RunFacts]})
    units: dict[str, Any] = field(default_factory=dict, metadata={"json": UnitFacts})
    search_for_copies: dict[str, Any] | None = field(default=None, metadata={"json": SearchFacts | None})
    about: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def command_options(self) -> str:
        """A command line with the options of the study."""
        return shlex.join(self.options) or self.command or ""

    @property
    def units_note(self) -> str:
        """What intervals and tests count as one observation, in words; empty if each input is one."""
        n, units, copies = (self.units.get(key) or 0 for key in ("images", "units", "copies"))
        if units == n:
            return ""
        one = "group" if self.units.get("groups") else f"different {picture_of(self.input_kind)}"
        one, unit = (one, "unit") if units == 1 else (f"{one}s", "units")
        inputs = self.unit_inputs.format(f"{self.input_kind}s")
        joined = f", {copies:,} of them {'a copy' if copies == 1 else 'copies'} of another" if copies else ""
        return f"intervals and tests count {units:,} {one} as the {unit} of {n:,} {inputs}{joined}"

    def table(self, width: int | None = None) -> str:
        cost = self.cost_of_checks()
        return super().table(width) + (f"\n\n{cost}" if cost else "")

    def cost_of_checks(self) -> str:
        """Say how long the data checks took, and whether an earlier run did them; empty where none ran."""
        return describe_cost("search for copies", self.search_for_copies)


def describe_cost(check: str, facts: Any) -> str:
    """Say what a check cost, from its ``seconds`` and ``earlier_run``; empty where a file does not tell."""
    seconds, made = (facts.get(name) for name in ("seconds", "earlier_run")) if facts else (None, None)
    if not isinstance(seconds, int | float):
        return ""
    taken = f" (taken from an earlier run, {made[:10]})" if isinstance(made, str) else ""
    return f"{check}: {seconds:.1f} s{taken}"


@dataclass(kw_only=True)
class AdvisedResult(StudyResult):
    """A study's result with advice and warnings, also keyword-only."""

    advice: str = ""
    warnings: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        """Return the `advice`."""
        return self.advice
