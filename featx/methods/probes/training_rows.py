"""Training rows, and the work on them that probes share: each piece is done once, when it is first needed.

Every probe standardises the rows, most take principal components, and all choose their settings on the same
folds. `TrainingRows` holds the rows of a split and its folds; a `Part` (`featx.methods.probes.parts`) holds
what is computed from the training rows of one fold.

A `Part` is a function of rows and folds alone, so what a probe finds does not depend on which probes ran
before it.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from featx.methods.probes.fold_moments import FoldMoments
from featx.methods.probes.folds import Folds, fewest_rows
from featx.methods.probes.parts import Part
from featx.methods.probes.products import ON_CPU, Products
from featx.methods.probes.targets import target_of

if TYPE_CHECKING:
    from featx.methods.probes.block_moments import BlockMoments

#: Settings are selected on a sample of this size if there are more rows.
SELECTION_ROWS = 4000


class TrainingRows:
    """The training rows of a split, and what probes compute from them, each once.

    Parameters
    ----------
    X : ndarray or RowBlocks of shape (n, d), float32 or float64
        Finite rows, not copied.
    y : ndarray of shape (n,)
        Labels, or numbers.
    groups : ndarray of shape (n,), int, optional
    task : {"classes", "numbers"}, default="classes"
    seed : int, default=0
        Seed of sample and folds.
    kind : str, default="image"
        The kind of input, for notes.
    products : Products, default=ON_CPU
        What computes large products of rows (`featx.methods.probes.products`).

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted labels; empty for numbers.
    codes : ndarray of shape (n,), int
        Position of each label in `classes`.
    """

    def __init__(
        self,
        X,
        y,
        groups=None,
        *,
        task="classes",
        seed: int = 0,
        products: Products = ON_CPU,
        kind: str = "image",
    ):
        self.kind = kind
        self.X, self.y, self.groups, self.task, self.seed = X, y, groups, task, seed
        self.products = products
        self.classes, self.codes = np.empty(0), np.zeros(len(y), np.int64)
        if task == "classes":
            self.classes, self.codes = np.unique(y, return_inverse=True)
        self._parts: dict[bytes, Part] = {}
        self._sums: FoldMoments | None = None
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def folds(self) -> Folds:
        """Folds of all rows to choose settings on; none where that is impossible."""
        return target_of(self.task, self.seed).folds(self.y, self.groups)

    @cached_property
    def sample(self) -> TrainingRows:
        """The rows on which settings are selected: all, or a sample of about 4,000 that can be folded."""
        if len(self) <= SELECTION_ROWS:
            return self
        drawn = target_of(self.task, self.seed).sample(self.y, SELECTION_ROWS)
        found = self.take(drawn)
        # If the sample leaves a class with one group it cannot be folded, and all rows are used.
        return found if found.folds else self

    @property
    def sums(self) -> FoldMoments:
        """Sums over each of `folds`, or over all rows where there are none."""
        with self._lock:
            if self._sums is None:
                self._sums = self.sums_of([held for _, held in self.folds] or [np.arange(len(self))])
            return self._sums

    def sums_of(self, folds: list[np.ndarray]) -> FoldMoments:
        """Return the sums over folds, each given by the positions of its rows."""
        numbers = self.y if self.task == "numbers" else None
        n_classes = max(len(self.classes), 1)
        return FoldMoments(self.X, folds, self.codes, n_classes, numbers, self.products)

    @cached_property
    def moments(self) -> BlockMoments:
        """Sums over the rows of a large set (`X` is a `RowBlocks`), for all rows and all but one fold."""
        from featx.methods.probes.block_moments import BlockMoments

        return BlockMoments(self)

    def take(self, rows: np.ndarray) -> TrainingRows:
        """Return some of the rows, by position."""
        groups = None if self.groups is None else self.groups[rows]
        return TrainingRows(
            self.X[rows],
            self.y[rows],
            groups,
            task=self.task,
            seed=self.seed,
            products=self.products,
            kind=self.kind,
        )

    def part(self, train: np.ndarray, held: np.ndarray) -> Part:
        """Return the part of a fold: the positions of its training rows and of those held out."""
        key = np.asarray(train, np.int64).tobytes() + b"|" + np.asarray(held, np.int64).tobytes()
        with self._lock:
            if key not in self._parts:
                self._parts[key] = Part(self, train, held)
            return self._parts[key]

    def parts(self, folds: Folds) -> list[Part]:
        """Return the part of each fold; all have as many components at most as the smallest has rows."""
        found = [self.part(train, held) for train, held in folds]
        if self._are_covered(folds) and any(self.sums.find(held) is None for _, held in folds):
            sums = self.sums_of([held for _, held in folds])
            for f, part in enumerate(found):
                part.take_sums(sums, (f,))
        fewest = fewest_rows(folds)
        for part in found:
            part.fewest = min(part.fewest, fewest)
        return found

    def _are_covered(self, folds: Folds) -> bool:
        """Return whether each row is held out in one fold, and trained on in all others."""
        held = np.concatenate([held for _, held in folds])
        complete = all(len(train) + len(out) == len(self) for train, out in folds)
        return complete and len(held) == len(np.unique(held)) == len(self)

    @property
    def whole(self) -> Part:
        """The part whose training rows are all rows, with none held out."""
        return self.part(np.arange(len(self)), np.empty(0, np.int64))

    def forget(self) -> None:
        """Free what was computed for the folds."""
        with self._lock:
            self._parts.clear()
            self._sums = None
