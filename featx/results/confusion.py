"""The confusion matrix of many classes, kept as the cells that are not 0.

There are at most as many of them as test images; all cells would be 25 million for 5,000 classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import InputError

#: Up to this number of classes a matrix is a list of rows, beyond it a `Confusion`.
DENSE_CLASSES = 200


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts above 0 by true and predicted class; it also reads like a list of rows.

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
        """Make it of a `Confusion`, a list of rows, or an array of shape (n, n)."""
        if isinstance(matrix, Confusion):
            return matrix
        cells = np.asarray(matrix, np.int64).reshape(len(matrix), -1)
        rows, columns = np.nonzero(cells)
        return cls(len(cells), rows.tolist(), columns.tolist(), cells[rows, columns].tolist())

    def check(self) -> None:
        """Refuse cells outside of the matrix or without a count, read from a damaged file."""
        n = self.n_classes
        if not len(self.rows) == len(self.columns) == len(self.counts):
            raise InputError("a confusion matrix whose rows, columns and counts are not as many")
        if any(not 0 <= at < n for at in (*self.rows, *self.columns)) or any(c < 1 for c in self.counts):
            raise InputError(f"a confusion matrix with a cell outside of its {n} classes, or without a count")

    def __len__(self) -> int:
        return self.n_classes

    def __getitem__(self, row: int) -> list[int]:
        """Return the counts of one true class over all predicted ones."""
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
        """Return true class, predicted class and count of each cell that is not 0."""
        return zip(self.rows, self.columns, self.counts, strict=True)

    def totals(self) -> list[int]:
        """Return the number of images of each true class."""
        return self._summed(self.cells())

    def right(self) -> list[int]:
        """Return how many images of each true class were predicted as such."""
        return self._summed(cell for cell in self.cells() if cell[0] == cell[1])

    def wrong(self) -> list[tuple[int, int, int]]:
        """Return count, true class and predicted class of each confusion, the most frequent first."""
        found = [(count, row, column) for row, column, count in self.cells() if row != column]
        return sorted(found, key=lambda cell: (-cell[0], cell[1], cell[2]))

    def _summed(self, cells: Iterable[tuple[int, int, int]]) -> list[int]:
        sums = [0] * self.n_classes
        for row, _, count in cells:
            sums[row] += count
        return sums


def confusion_of(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> list[list[int]] | Confusion:
    """Count how often each class was predicted as each.

    Parameters
    ----------
    truth, predicted : ndarray of shape (n,), int
        Classes of the test images.
    n_classes : int

    Returns
    -------
    list of list of int, or Confusion
        Rows are the true classes; a `Confusion` of more than `DENSE_CLASSES` classes.
    """
    cells, counts = np.unique(truth.astype(np.int64) * n_classes + predicted, return_counts=True)
    rows, columns = np.divmod(cells, n_classes)
    found = Confusion(n_classes, rows.tolist(), columns.tolist(), counts.tolist())
    return found if n_classes > DENSE_CLASSES else list(found)
