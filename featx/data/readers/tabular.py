"""The columns of a table that are needed, from a file or from memory, and which of them were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from featx.data.labels import is_missing, same_form
from featx.data.readers.stored.column_inputs import ColumnInputs
from featx.data.tasks import check_asked, names_of
from featx.errors import DatasetError, InputError


@dataclass
class Table:
    """The columns that are needed, from a file or from memory."""

    place: str  # the file, for messages
    folder: str  # what paths are relative to; empty for the working directory
    rows: Sequence[Any]  # number for messages: the line of a .csv, from 1 in a .parquet, from 0 in memory
    columns: dict[str, list[Any]]  # `COLUMNS`, `OPTIONAL` and the chosen ones; image if a frame holds images
    found: list[str]  # names of all columns
    all_columns: Callable[[], Mapping[str, list[Any]]] = dict  # reads what could be labels, for a message
    orders: dict[str, Sequence[str]] = field(default_factory=dict)  # of the classes of a column
    text: str = ""  # the column of texts; empty for a table of images or clips
    audio: str = ""  # the column of clips, if it is not path
    names: list[str] = field(default_factory=list)  # what rows are called, each its own; default: by number
    notes: list[str] = field(default_factory=list)  # for the user, on how it was read
    stored: ColumnInputs | None = None  # inputs whose bytes lie in the column `stored_column`
    stored_column: str = ""

    @property
    def input_column(self) -> str:
        """The name of the column of inputs: the one of bytes, texts or clips, else path or image."""
        of_files = "image" if "image" in self.columns else "path"
        return self.stored_column or self.text or self.audio or of_files

    def error(self, column: str, i: int, problem: str) -> DatasetError:
        """Return an error that names row and column."""
        line = f"{self.place}, row {self.rows[i]}, column {column}: {problem}"
        return DatasetError(" ".join(line.splitlines()))  # a value may have several lines

    def missing(self, column: str) -> DatasetError | None:
        """Return an error on the first missing value of a column; None if it has none."""
        gaps = [i for i, value in enumerate(self.columns[column]) if is_missing(value)]
        if not gaps:
            return None
        more = f" (and {len(gaps) - 1} more row{'s' * (len(gaps) > 2)})" if len(gaps) > 1 else ""
        return self.error(column, gaps[0], f"no value{more}")

    def keep(self, kept: Sequence[int]) -> None:
        """Drop all rows but these."""
        self.rows = [self.rows[i] for i in kept]
        self.names = [self.names[i] for i in kept] if self.names else []
        self.columns = {name: [values[i] for i in kept] for name, values in self.columns.items()}
        self.stored = None if self.stored is None else self.stored.take(kept)


class Asked(TypedDict, total=False):
    """The keywords of readers that hand them on as a `Wanted`."""

    label: Any
    target: Any
    group: str | None
    split_by: str | None


@dataclass(frozen=True)
class Wanted:
    """The columns that were asked for, and what divides the rows: parameters of `read_table`."""

    label: Any = None
    target: Any = None
    group: str | None = None
    split_by: str | None = None

    def check(self, place: str) -> list[str]:
        """Return all columns asked for; `DatasetError` if one is asked for twice."""
        try:
            check_asked(self.label, self.target)
        except InputError as error:
            raise DatasetError(f"{place}: {error}") from error
        groups = [] if self.group is None else [same_form(self.group)]
        if groups and groups[0] in (*self.labels, *self.targets):
            raise DatasetError(
                f"{place}: column {self.group!r} is asked for twice; it is the groups or a label"
            )
        return [*self.labels, *self.targets, *groups]

    @property
    def labels(self) -> list[str]:
        """The columns of classes that were asked for."""
        return [same_form(name) for name in names_of(self.label)]

    @property
    def targets(self) -> list[str]:
        """The columns of numbers that were asked for."""
        return [same_form(name) for name in names_of(self.target)]
