"""The rows of one input, with what is to be predicted of each, and digests that say which rows they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from featx.studies.checkpoints import digest_rows

if TYPE_CHECKING:
    from featx.methods.probes.probe import TaskName


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Embeddings or pixels with labels or numbers."""

    x: np.ndarray  # (n, d)
    y: np.ndarray  # (n,): classes, or numbers
    n_classes: int | None = None  # None: `y` are numbers
    groups: np.ndarray | None = None  # (n,): rows of one group are never on two sides of a fold

    @property
    def task(self) -> TaskName:
        """What is predicted: ``"classes"`` or ``"numbers"``."""
        return "numbers" if self.n_classes is None else "classes"

    @cached_property
    def _digests(self) -> np.ndarray:
        return digest_rows(self.x)

    def groups_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the groups of some rows; None where there are no groups."""
        return None if self.groups is None else self.groups[rows]

    def digest(self, rows: np.ndarray, *, labelled: bool = True) -> str:
        """Return a digest of some rows in their order: inputs, and with `labelled` labels and groups."""
        found = hashlib.blake2b(self._digests[rows].tobytes(), digest_size=16)
        if labelled:
            found.update(self.y.dtype.str.encode() + self.y[rows].tobytes())
            if self.groups is not None:
                found.update(repr(self.groups[rows].tolist()).encode("utf-8", "surrogatepass"))
        return found.hexdigest()
