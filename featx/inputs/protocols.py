"""The protocols of a kind of input: where it comes from, what was read, and how it is prepared.

A kind of input (`featx.inputs.image` is one) implements all three. The cache, extraction and everything above
them use nothing else of it, so that a new kind needs no change there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Content(Protocol):
    """What a source gave when it was read, not yet prepared."""

    @property
    def digest(self) -> bytes:
        """32 bytes that identify the content: equal contents have equal rows."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""


@runtime_checkable
class Source(Protocol):
    """Where one input comes from.

    It holds no open file, and can be pickled if what it was made of can.
    """

    @property
    def id(self) -> str:
        """Name of the input, unique in its collection."""

    @property
    def is_file(self) -> bool:
        """Whether it is a path that any process can read, so that pickling it is cheap."""

    def read(self) -> Any:
        """Return the `Content`, of this kind; `SourceError` when it cannot be read."""

    def stat_key(self) -> tuple[str, int, int, int] | None:
        """Return (absolute path, size, mtime in ns, ctime in ns) of a file; None for anything else."""


@runtime_checkable
class Preparation(Protocol):
    """How a content becomes the array that a network takes."""

    kind: str
    """The kind of input, a noun in the singular, such as ``"image"``; messages use it."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the steps of `prepare`, whose time is noted."""

    reference_version: int
    """Version of the series that `reference_batch` gives."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Shape of one prepared input, each axis an int, or None where its length varies."""

    @property
    def dtype(self) -> np.dtype:
        """Dtype of a prepared input."""

    @property
    def nbytes(self) -> int:
        """Bytes of one prepared input at most."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes a prepared input, as plain JSON data: a part of the space."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""

    def prepare(
        self,
        content: Any,
        out: np.ndarray | None = None,
        note: Callable[[str], object] | None = None,
    ) -> np.ndarray:
        """Prepare one input.

        Parameters
        ----------
        content : Content
            What a source of this kind gave.
        out : ndarray, optional
            Where to put the result, where the shape does not vary.
        note : callable, optional
            Called with the name of each of `stages` when it is done.

        Raises
        ------
        SourceError
            When the content cannot be prepared.
        """

    def collate(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Make one batch of prepared inputs, padded where their lengths differ.

        A network must give an input the same row whatever else is in its batch.
        """

    def reference_batch(self, count: int) -> np.ndarray:
        """Return the first `count` inputs of a fixed series, on which engines are compared."""

    def share_memory(self, processes: int, alone: Callable[[], AbstractContextManager]) -> None:
        """Keep to this process's part of the memory that `processes` processes may take for preparing.

        Parameters
        ----------
        processes : int
        alone : callable
            Returns a context manager that only one of the processes is in at a time.
        """
