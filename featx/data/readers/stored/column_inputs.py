"""`ColumnInputs`: the inputs that lie in columns of files, made only when they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from featx.data.readers.segments import name_segment
from featx.errors import AudioError, ImageError
from featx.inputs import Source
from featx.inputs.audio import WHOLE, EncodedClip, LazyClip, Segment, StoredClip
from featx.inputs.image import EncodedImage, LazyImage, StoredImage


class EncodedColumn(Protocol):
    """A column of encoded images or clips."""

    @property
    def name(self) -> str:
        """The file that it lies in, or what it is called."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Any:
        """Return the `Place` of a row, or its bytes; None where it has neither."""


class ColumnInputs(Sequence[Source]):
    """Images or clips in columns of one or several files, as a sequence of sources.

    It takes some twelve bytes for each input.

    Parameters
    ----------
    kind : {"image", "clip"}
    columns : sequence of EncodedColumn
    titles : sequence of str, optional
        What ids call each of them: an id is title and row (from 1), as in ``"train.parquet:12"``. Without
        them it is the position.
    column_of, row_of : ndarray of shape (n,), optional
        Of each input; default: all rows of all columns, in order.
    numbers : ndarray of shape (n,), optional
        Without titles, what ids call each input; default: 0, 1, 2, ...
    segments : sequence of Segment, optional
        Of clips.
    """

    def __init__(
        self,
        kind: str,
        columns: Sequence[EncodedColumn],
        titles: Sequence[str] | None = None,
        column_of: np.ndarray | None = None,
        row_of: np.ndarray | None = None,
        numbers: np.ndarray | None = None,
        segments: Sequence[Segment] | None = None,
    ) -> None:
        self.kind, self.columns, self.titles = kind, tuple(columns), titles
        lengths = [len(column) for column in columns] if column_of is None or row_of is None else []
        if column_of is None:
            column_of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        if row_of is None:
            row_of = np.concatenate([np.arange(n, dtype=np.int64) for n in (0, *lengths)])
        self.column_of, self.row_of = column_of, row_of
        self.numbers = np.arange(len(row_of)) if numbers is None and titles is None else numbers
        self._width = len(str(max(int(self.numbers.max(initial=0)), 0))) if self.numbers is not None else 0
        self.segments = segments

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def kinds(self) -> set[str]:
        """The kind, if there is any input."""
        return {self.kind} if len(self) else set()

    @property
    def all_files(self) -> bool:
        """Whether every process can read all of them, so that pickling them is cheap."""
        return all(getattr(column, "is_file", True) for column in self.columns)

    @property
    def ids(self) -> list[str]:
        """The ids of all inputs."""
        return [self._id(i) for i in range(len(self))]

    def _id(self, i: int) -> str:
        if self.titles is None or self.numbers is not None:
            assert self.numbers is not None
            return f"{int(self.numbers[i]):0{self._width}d}"
        name = f"{self.titles[self.column_of[i]]}:{self.row_of[i] + 1}"
        return name if self.segments is None else name_segment(name, self.segments[i])

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return self.take(np.arange(*i.indices(len(self))))
        i = range(len(self))[i]
        place, id = self.columns[self.column_of[i]][int(self.row_of[i])], self._id(i)
        if place is None:
            lazy = LazyClip if self.kind == "clip" else LazyImage
            return lazy(id, functools.partial(_fail, self.kind, id))
        if self.kind == "clip":
            segment = WHOLE if self.segments is None else self.segments[i]
            return (EncodedClip if isinstance(place, bytes) else StoredClip)(id, place, segment)
        return (EncodedImage if isinstance(place, bytes) else StoredImage)(id, place)

    def take(self, indices: Any) -> ColumnInputs:
        """Return the inputs at these positions."""
        rows = np.asarray(indices, np.int64)
        numbers = None if self.numbers is None else self.numbers[rows]
        segments = None if self.segments is None else [self.segments[i] for i in rows.tolist()]
        taken = ColumnInputs(
            self.kind, self.columns, self.titles, self.column_of[rows], self.row_of[rows], numbers, segments
        )
        taken._width = self._width
        return taken

    def with_segments(self, segments: Sequence[Segment]) -> ColumnInputs:
        """Return these parts of the clips."""
        arrays = self.column_of, self.row_of, self.numbers
        return ColumnInputs(self.kind, self.columns, self.titles, *arrays, segments=segments)

    def missing(self) -> list[int]:
        """Return the positions of inputs that are known to have no bytes."""
        lacking = [getattr(column, "missing", None) for column in self.columns]
        if all(rows is None or not len(rows) for rows in lacking):
            return []
        sets = [set() if rows is None else set(map(int, rows)) for rows in lacking]
        of_rows = zip(self.column_of.tolist(), self.row_of.tolist(), strict=True)
        return [i for i, (column, row) in enumerate(of_rows) if row in sets[column]]


def join_inputs(parts: Sequence[ColumnInputs]) -> ColumnInputs:
    """Return all inputs of several, in order."""
    first = parts[0]
    shifts = np.cumsum([0, *(len(part.columns) for part in parts)])
    numbered = first.titles is None
    return ColumnInputs(
        first.kind,
        [column for part in parts for column in part.columns],
        None if numbered else [title for part in parts for title in part.titles or ()],
        np.concatenate([part.column_of + shift for part, shift in zip(parts, shifts, strict=False)]),
        np.concatenate([part.row_of for part in parts]),
    )


def _fail(kind: str, id: str) -> object:
    raise (AudioError if kind == "clip" else ImageError)(id, "there is no value (null)")
