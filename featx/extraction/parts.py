"""Parts of a collection, for jobs that compute one each: the k-th of n contiguous parts of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from featx.data import Dataset
from featx.errors import InputError
from featx.inputs import Source
from featx.options.checks import part_of

__all__ = ["Part", "take_part"]


@dataclass(frozen=True)
class Part:
    """Part `k` of `n` of the inputs `whole`: from position `start` up to, not including, `stop`.

    Each input is in exactly one part, and the sizes of parts differ by one at most. The whole decides what
    must be the same for all parts: on which inputs int8 is calibrated and judged.
    """

    k: int
    n: int
    whole: Sequence[Source]

    @property
    def start(self) -> int:
        """Position of the first input."""
        return (self.k - 1) * len(self.whole) // self.n

    @property
    def stop(self) -> int:
        """Position behind the last input."""
        return self.k * len(self.whole) // self.n

    def __str__(self) -> str:
        return f"{self.k}/{self.n}"

    def require_first(self, kind: str) -> None:
        """Raise `InputError` unless this is the first part: only that one may calibrate int8 for all."""
        if self.k > 1:
            raise InputError(
                f"precision 'int8' with part {self}: all parts need the scales that part 1/{self.n} measures "
                f"on the first {kind}s of the whole, and this cache has none; run part 1/{self.n} first, and "
                "if this part has a cache of its own, bring the scales there with featx cache merge"
            )


def take_part(dataset: Dataset, part: str) -> tuple[Dataset, Part]:
    """Return the part ``"k/n"`` of a dataset, perhaps without any input, and what it is a part of.

    Inputs are divided in the order of the dataset, which is that of their names or rows, so that every
    machine divides them alike. What could not be listed is reported by the first part alone.
    """
    found = Part(*part_of("part", part), dataset.inputs)
    taken = dataset.subset(np.arange(found.start, found.stop))
    if found.k > 1:
        taken = replace(taken, reading=replace(taken.reading, failures=()))
    return taken, found
