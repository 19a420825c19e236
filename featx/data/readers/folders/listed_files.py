"""`ListedFiles`: the files of a listing in columns, sorted as their paths' parts are."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from featx.data.string_column import StringColumn

#: One file or folder: its path below the root, as parts.
Parts = tuple[str, ...]


class ListedFiles(Sequence[Parts]):
    """Files below a root, each a tuple of parts when it is asked for.

    Parameters
    ----------
    ids : StringColumn
        Their paths, with ``/`` between the parts.
    folders : list of Parts
        The folders that hold them.
    folder_of : ndarray of shape (n,), int32
        The index of each file's folder.
    numbers : ndarray of shape (n,), int64, or None
        What `FileSorter.add` was given with each.
    """

    def __init__(
        self, ids: StringColumn, folders: list[Parts], folder_of: np.ndarray, numbers: np.ndarray | None
    ) -> None:
        self.ids, self.folders, self.folder_of, self.numbers = ids, folders, folder_of, numbers
        #: How many files each folder holds.
        self.counts: list[int] = np.bincount(folder_of, minlength=len(folders)).tolist()

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, which: int) -> Parts: ...
    @overload
    def __getitem__(self, which: slice) -> list[Parts]: ...
    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return [self[i] for i in range(len(self))[which]]
        return tuple(self.ids[which].split("/"))

    def __iter__(self) -> Iterator[Parts]:
        return (tuple(id.split("/")) for id in self.ids)

    def names_in(self, folder: Parts) -> list[str]:
        """Return the names of the files that lie in a folder itself."""
        if folder not in self.folders:
            return []
        rows = np.flatnonzero(self.folder_of == self.folders.index(folder))
        return [id.rpartition("/")[2] for id in self.ids.take(rows)]


class FileSorter:
    """Collects files in any order, in a few bytes beside their names, and sorts them."""

    def __init__(self) -> None:
        self._folders: dict[Parts, int] = {}
        self._unsorted: set[int] = set()  # folders whose names did not come in order
        self._last: dict[int, str] = {}
        self._names = bytearray()
        self._lengths, self._folder_of, self._numbers = array("q"), array("i"), array("q")

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, folder: Parts, name: str, number: int = -1) -> None:
        """Add a file; `UnicodeEncodeError` if its name is not UTF-8."""
        data = name.encode("utf-8")
        at = self._folders.get(folder)
        if at is None:
            "/".join(folder).encode("utf-8")
            at = self._folders[folder] = len(self._folders)
        elif name < self._last[at]:
            self._unsorted.add(at)
        self._last[at] = name
        self._names += data
        self._lengths.append(len(data))
        self._folder_of.append(at)
        if number >= 0:
            self._numbers.append(number)

    def last(self, count: int) -> StringColumn:
        """Return the paths of the last `count` files that came."""
        folders = list(self._folders)
        lengths = self._lengths[len(self) - count :]
        at = len(self._names) - sum(lengths)
        paths = []
        for length, folder in zip(lengths, self._folder_of[len(self) - count :], strict=True):
            name = self._names[at : at + length].decode("utf-8")
            paths.append("/".join((*folders[folder], name)))
            at += length
        return StringColumn.of(paths)

    def sort(self) -> ListedFiles:
        """Return the files in the order of their parts; those with equal paths in the order they came."""
        self._last.clear()
        names = StringColumn.of_lengths(
            np.frombuffer(bytes(self._names), np.uint8), np.frombuffer(self._lengths, np.int64)
        )
        self._names = bytearray()
        folder_of = np.frombuffer(self._folder_of, np.int32) if len(self) else np.empty(0, np.int32)
        folders = list(self._folders)
        runs = list(self._runs(names, folder_of, folders))
        order = np.concatenate([rows for _, rows in runs]) if runs else np.empty(0, np.int64)

        def paths() -> Iterator[list[bytes]]:
            for folder, rows in runs:
                prefix = "".join(f"{part}/" for part in folders[folder]).encode("utf-8")
                whole = len(rows) and rows[-1] - rows[0] == len(rows) - 1 and folder not in self._unsorted
                part = names[int(rows[0]) : int(rows[-1]) + 1] if whole else names.take(rows)
                for block in part.encoded():
                    yield [prefix + name for name in block]

        numbers = np.frombuffer(self._numbers, np.int64)[order] if len(self._numbers) else None
        return ListedFiles(StringColumn.of_bytes(paths()), folders, folder_of[order], numbers)

    def _runs(
        self, names: StringColumn, folder_of: np.ndarray, folders: list[Parts]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield, in order, the folder and the rows of files that follow one another.

        The files of a folder come between its subfolders, as their names do: ``a/b.png``, ``a/m/1.png``,
        ``a/z.png``. So only names beside subfolders are compared.
        """
        grouped = np.split(np.argsort(folder_of, kind="stable"), np.cumsum(np.bincount(folder_of))[:-1])
        children: dict[Parts, set[str]] = {(): set()}
        for folder in folders:
            for depth in range(len(folder), 0, -1):
                above = children.setdefault(folder[: depth - 1], set())
                if folder[depth - 1] in above:
                    break
                above.add(folder[depth - 1])
        # Of each open folder: its path, number, rows, names beside subfolders, the next row, subfolders left.
        pile = [self._open((), names, grouped, children)]
        while pile:
            folder, number, rows, beside, at, left = pile.pop()
            child = next(left, None)
            to = len(rows) if child is None else bisect_right(beside, child, lo=at)
            if to > at:
                yield number, rows[at:to]
            if child is not None:
                pile.append((folder, number, rows, beside, to, left))
                pile.append(self._open((*folder, child), names, grouped, children))

    def _open(
        self, folder: Parts, names: StringColumn, grouped: list[np.ndarray], children: dict[Parts, set[str]]
    ) -> tuple[Parts, int, np.ndarray, list[str], int, Iterator[str]]:
        number = self._folders.get(folder, -1)
        rows = grouped[number] if number >= 0 else np.empty(0, np.int64)
        below = sorted(children.get(folder, ()))
        beside: list[str] = []
        if number in self._unsorted or (below and len(rows)):
            beside = list(names.take(rows))
        if number in self._unsorted:
            order = sorted(range(len(rows)), key=beside.__getitem__)
            rows, beside = rows[order], [beside[i] for i in order]
        return folder, number, rows, beside, 0, iter(below)
