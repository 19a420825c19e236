"""Inputs and how they are prepared for a network, one package for each kind of input.

A kind of input (`featx.inputs.image` is one) implements the three protocols below. The cache, extraction and
everything above them use nothing else of it, so that a new kind needs no change there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np

#: What `Preparation.prepare` notes of an input that is longer than the network takes.
LONGER = "longer"
#: What it notes of an input that holds nothing to be heard.
SILENT = "silent"
#: What it notes of an input with a duration, with the seconds that it takes.
DURATION = "duration"


@runtime_checkable
class Content(Protocol):
    """What reading a source gives, before it is prepared."""

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
    def kind(self) -> str:
        """The kind of input, as in `Preparation`."""

    @property
    def is_file(self) -> bool:
        """Whether it is a path that any process can read, so that pickling it is cheap."""

    def read(self) -> Any:
        """Return the `Content`, of this kind; `SourceError` when it cannot be read."""

    def stat_key(self) -> tuple[str, int, int, int] | None:
        """Return (absolute path, size, mtime in ns, ctime in ns) of a file; None for anything else.

        Of a part of a file, a null byte and the name of the part stand behind the path.
        """


@runtime_checkable
class Preparation(Protocol):
    """How a content becomes the array that a network takes."""

    kind: str
    """The kind of input, a noun in the singular, such as ``"image"``; messages use it."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the steps of `prepare`, which are timed."""

    reference_version: int
    """Version of the inputs that `reference_batch` returns."""

    in_pieces: bool
    """Whether an input may become several inputs of the network, its pieces, whose rows `join` makes one."""

    masks: bool
    """Whether the network masks what `collate` puts behind shorter inputs; if not, a batch has one length."""

    @property
    def padding(self) -> float:
        """What `collate` puts behind shorter inputs."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Shape of one input of the network, each axis an int, or None where its length varies."""

    @property
    def dtype(self) -> np.dtype:
        """Dtype of a prepared input."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that one prepared input takes at most."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes a prepared input, as plain JSON data: a part of the space."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""

    def prepare(
        self,
        content: Any,
        out: np.ndarray | None = None,
        note: Callable[..., object] | None = None,
    ) -> np.ndarray:
        """Prepare one input, into `out` if it is given and the shape does not vary.

        With `in_pieces`, what is returned has one more axis in front, that of the pieces. `note` is called
        with the name of each of `stages` when it is done, with `LONGER` if the input is longer than the
        network takes, with `SILENT` if nothing is to be heard in it, and with `DURATION` and its seconds.
        `SourceError` when the content cannot be prepared.
        """

    def collate(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Join inputs of the network (with `in_pieces`, pieces) into one batch, padded to one length.

        A network must give an input the same row whatever else is in its batch.
        """

    def join(self, rows: np.ndarray, prepared: np.ndarray) -> np.ndarray:
        """Return the row (dim,) of an input whose pieces have `rows` (pieces, dim); only for `in_pieces`."""

    def joined_dim(self, dim: int) -> int:
        """Return the length of the row of an input, of pieces whose rows have `dim` values."""

    def reference_batch(self, count: int) -> np.ndarray:
        """Return the first `count` inputs of a fixed series, on which engines are compared."""

    def share_memory(self, processes: int, alone: Callable[[], AbstractContextManager]) -> None:
        """Limit this process to an equal share of the memory in which `processes` processes prepare inputs.

        `alone` returns a context manager that lets one process in at a time.
        """
