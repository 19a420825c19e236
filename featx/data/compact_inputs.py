"""`CompactInputs`: the inputs of a large dataset as columns; sources are made when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from featx.data.sources import file_source, stored_source
from featx.data.string_column import StringColumn
from featx.inputs import Source
from featx.inputs.audio import FileClip
from featx.inputs.image import FileImage
from featx.inputs.text import FileText, StringText
from featx.places import Place

#: From this many sources on, `compact` takes them into columns.
MANY = 2**16
# Sources that are made at a time where all are gone through.
_BLOCK = 4096


class CompactInputs(Sequence[Source]):
    """Sources of one kind, made of columns when they are asked for.

    Parameters
    ----------
    kind : str
        Their kind, such as ``"image"``.
    ids : StringColumn
    make : callable
        ``make(id, *values)`` returns the source of a row, whose values in `columns` are given. It is pickled
        with the inputs: a small dataclass, not a closure.
    columns : sequence of ndarray of shape (n,) or StringColumn
        What `make` needs besides the id, such as where a member begins in its archive.
    all_files : bool, default=True
        Whether any process can read the sources, so that pickling them is cheap (`Source.is_file`).
    """

    def __init__(
        self,
        kind: str,
        ids: StringColumn,
        make: Callable[..., Source],
        columns: Sequence[np.ndarray | StringColumn] = (),
        *,
        all_files: bool = True,
    ) -> None:
        self.kind, self.ids, self.make, self.columns = kind, ids, make, tuple(columns)
        self.all_files = all_files

    @property
    def kinds(self) -> set[str]:
        """The kinds of the sources."""
        return {self.kind} if len(self) else set()

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, which: int) -> Source: ...
    @overload
    def __getitem__(self, which: slice) -> CompactInputs: ...
    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return self._with(self.ids[which], [column[which] for column in self.columns])
        return self.make(self.ids[which], *(_plain(column[which]) for column in self.columns))

    def take(self, rows: np.ndarray) -> CompactInputs:
        """Return the inputs at `rows` (whole numbers), in that order."""
        return self._with(self.ids.take(rows), [column.take(rows) for column in self.columns])

    def __iter__(self) -> Iterator[Source]:
        for at in range(0, len(self), _BLOCK):
            part = self[at : at + _BLOCK]
            values = [c.tolist() if isinstance(c, np.ndarray) else c for c in part.columns]
            yield from map(self.make, part.ids, *values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self):,} {self.kind}s: {self.ids!r}>"

    def _with(self, ids: StringColumn, columns: Sequence[np.ndarray | StringColumn]) -> CompactInputs:
        return CompactInputs(self.kind, ids, self.make, columns, all_files=self.all_files)


@dataclass(frozen=True)
class FileBelow:
    """Makes the source of a file whose id is its path below a folder, with ``/`` between the parts.

    Parameters
    ----------
    kind : {"image", "text", "clip"}
    root : str
        The folder.
    tree : str, optional
        Its real path, for images (`FileImage`).
    """

    kind: str
    root: str
    tree: str | None = None

    def __call__(self, id: str, path: str | None = None) -> Source:
        """Return the source; `path` is its path on disk, if the id does not say it."""
        if path is None:
            path = os.path.join(self.root, id if os.sep == "/" else id.replace("/", os.sep))
        return file_source(self.kind, id, path, tree=self.tree)


@dataclass(frozen=True)
class PlaceOf:
    """Makes the source of an input in a place, which is looked up when it is asked for.

    Parameters
    ----------
    kind : {"image", "text", "clip"}
    entries : sequence of (str, Place)
        Such as the members of an archive.
    """

    kind: str
    entries: Sequence[tuple[str, Place | None]]

    def __call__(self, id: str, number: int) -> Source:
        """Return the source of the entry `number`."""
        place = self.entries[number][1]
        assert place is not None  # a folder is no input
        return stored_source(self.kind, id, place)


def compact(sources: Sequence[Source]) -> Sequence[Source]:
    """Return sources as columns, if they are many and alike: files of one kind and folder, or texts."""
    if len(sources) < MANY or is_compact(sources):
        return sources
    first: Any = sources[0]
    if any(type(source) is not type(first) for source in sources):
        return sources
    try:
        ids = StringColumn.of(source.id for source in sources)
        if isinstance(first, StringText):
            texts: Iterator[str] = (source.text for source in sources)  # type: ignore[attr-defined]
            return CompactInputs("text", ids, StringText, [StringColumn.of(texts)], all_files=False)
    except UnicodeEncodeError:  # half of a pair: no valid text, which is named when it is read
        return sources
    make = FileBelow(first.kind, "", getattr(first, "tree", None))
    if not isinstance(first, FileImage | FileText | FileClip):
        return sources
    # A source that says more than its path, such as a segment, is not made of its path alone.
    if any(make(s.id, s.path) != s or getattr(s, "tree", None) != make.tree for s in sources):  # type: ignore[attr-defined]
        return sources
    paths = StringColumn.of(source.path for source in sources)  # type: ignore[attr-defined]
    return CompactInputs(first.kind, ids, make, [paths])


def ids_of(inputs: Sequence[Source]) -> Sequence[str]:
    """Return the ids of inputs, compact if the inputs are."""
    ids = getattr(inputs, "ids", None)
    return [source.id for source in inputs] if ids is None else ids


def kinds_of(inputs: Sequence[Source]) -> set[str]:
    """Return the kinds of inputs; compact inputs know them."""
    kinds = getattr(inputs, "kinds", None)
    return {source.kind for source in inputs} if kinds is None else kinds


def take_inputs(inputs: Sequence[Source], rows: np.ndarray) -> Sequence[Source]:
    """Return the inputs at `rows`, compact if they all are."""
    if hasattr(inputs, "take"):
        taken: Sequence[Source] = inputs.take(rows)
        return taken
    return [inputs[i] for i in rows.tolist()]


def is_compact(inputs: Any) -> bool:
    """Whether inputs are made on demand, so that a list of them would take more memory."""
    return hasattr(inputs, "take") and hasattr(inputs, "kinds")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
