"""Confusion matrices; those of many classes keep only the cells that are not 0.

Such a matrix has at most one cell per test image, where 5,000 classes would have 25 million cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import InputError
from featx.results.shown import Shown

#: A matrix of more classes is a `Confusion`, not a list of rows.
DENSE_CLASSES = 200


@dataclass(frozen=True, eq=False)
class Confusion(Shown):
    """A sparse confusion matrix that can be read like a list of rows.

    Attributes
    ----------
    n_classes : int
    rows, columns, counts : list of int
        True class, predicted class and number of images of each cell that is not 0.
    """

    n_classes: int
    rows: list[int]
    columns: list[int]
    counts: list[int]

    @classmethod
    def of(cls, matrix: Any) -> Confusion:
        """Convert a list of rows or an array of shape (n, n); a `Confusion` is returned as it is."""
        if isinstance(matrix, Confusion):
            return matrix
        cells = np.asarray(matrix, np.int64).reshape(len(matrix), -1)
        rows, columns = np.nonzero(cells)
        return cls(len(cells), rows.tolist(), columns.tolist(), cells[rows, columns].tolist())

    def check(self) -> None:
        """Raise `InputError` for cells outside the matrix or without a count (a damaged file)."""
        n = self.n_classes
        if not len(self.rows) == len(self.columns) == len(self.counts):
            raise InputError("a confusion matrix whose rows, columns and counts differ in length")
        if any(not 0 <= at < n for at in (*self.rows, *self.columns)) or any(c < 1 for c in self.counts):
            raise InputError(f"a confusion matrix with a cell outside its {n} classes, or without a count")

    def _facts(self) -> dict[str, str]:
        wrong = sum(count for count, _, _ in self.wrong())
        return {"classes": f"{self.n_classes:,}", "inputs": f"{sum(self.counts):,}", "wrong": f"{wrong:,}"}

    def __len__(self) -> int:
        return self.n_classes

    def __getitem__(self, row: int) -> list[int]:
        """Return the counts of one true class by predicted class."""
        if not -self.n_classes <= row < self.n_classes:
            raise IndexError(f"row {row} of {self.n_classes}")
        line = [0] * self.n_classes
        for at, column, count in zip(self.rows, self.columns, self.counts, strict=True):
            if at == row % self.n_classes:
                line[column] = count
        return line

    def __iter__(self) -> Iterator[list[int]]:
        lines: dict[int, list[tuple[int, int]]] = {}
        for row, column, count in self.cells():
            lines.setdefault(row, []).append((column, count))
        for row in range(self.n_classes):
            line = [0] * self.n_classes
            for column, count in lines.get(row, ()):
                line[column] = count
            yield line

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence):
            return len(other) == len(self) and all(a == list(b) for a, b in zip(self, other, strict=True))
        return isinstance(other, Confusion) and (len(self), sorted(self.cells())) == (
            len(other),
            sorted(other.cells()),
        )

    __hash__ = None  # type: ignore[assignment]

    def cells(self) -> Iterator[tuple[int, int, int]]:
        """Iterate over (true class, predicted class, count) of the cells that are not 0."""
        return zip(self.rows, self.columns, self.counts, strict=True)

    def totals(self) -> list[int]:
        """Return the number of images of each true class."""
        return self._summed(self.cells())

    def right(self) -> list[int]:
        """Return the number of correctly predicted images of each class."""
        return self._summed(cell for cell in self.cells() if cell[0] == cell[1])

    def wrong(self) -> list[tuple[int, int, int]]:
        """Return (count, true class, predicted class) of each confusion, the most frequent first."""
        found = [(count, row, column) for row, column, count in self.cells() if row != column]
        return sorted(found, key=lambda cell: (-cell[0], cell[1], cell[2]))

    def _summed(self, cells: Iterable[tuple[int, int, int]]) -> list[int]:
        sums = [0] * self.n_classes
        for row, _, count in cells:
            sums[row] += count
        return sums


def confusion_of(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> list[list[int]] | Confusion:
    """Return the confusion matrix of class indices, both of shape (n,): rows true, columns predicted."""
    cells, counts = np.unique(truth.astype(np.int64) * n_classes + predicted, return_counts=True)
    rows, columns = np.divmod(cells, n_classes)
    found = Confusion(n_classes, rows.tolist(), columns.tolist(), counts.tolist())
    return found if n_classes > DENSE_CLASSES else list(found)
