"""A sequence whose items are made each time that they are asked for, so that millions take no memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

Item = TypeVar("Item", covariant=True)


class MadeOnDemand(Sequence[Item]):
    """A sequence that makes item `i` by `make`; a slice is a list."""

    @abstractmethod
    def make(self, i: int) -> Item:
        """Return item `i`, from 0 to the length."""

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        numbers = range(len(self))[index]
        return self.make(numbers) if isinstance(numbers, int) else [self.make(i) for i in numbers]

    def __iter__(self) -> Iterator[Item]:
        return map(self.make, range(len(self)))
