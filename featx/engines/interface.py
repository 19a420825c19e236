"""What an engine is: the way a frozen backbone is executed on the device at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from featx.backbones.backbone import Backbone
from featx.errors import EngineError, InputError

#: Waits for a submitted batch and gives its rows.
Ticket = Callable[[], np.ndarray]


class Engine(Protocol):
    """Runs a backbone on batches of pixels.

    Attributes
    ----------
    name : str
        Of the engine.
    device : str
        Where it runs, such as ``"cpu"`` or ``"cuda:0"``.
    precision : {"fp32", "bf16", "fp16", "int8"}
        Of the arithmetic inside the network. Embeddings are float32 in any case.
    version : str
        Of the library that does the work; another one is compared with the reference again.
    workers : int
        How many threads should call it at once, each of which then has its share of the cores; 0 for a
        device that works by itself while the cores prepare images, and is fed through `submit`.
    batch_size : int
        Images that a call should bring.
    """

    name: str
    device: str
    precision: str
    version: str
    workers: int
    batch_size: int

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Pixels to embeddings. Any thread may call.

        Parameters
        ----------
        batch : ndarray of shape (b, ...)
            Prepared inputs, as the backbone's preparation gives them; any b.

        Returns
        -------
        ndarray of shape (b, dim), float32
            A row does not depend on the other images of its batch.
        """

    def submit(self, parts: Sequence[np.ndarray]) -> Ticket:
        """Start on a batch, given in parts, and return at once where the device works by itself."""

    def enter(self) -> None:
        """Make the calling thread a worker: it takes no more than its share of the cores."""

    def leave(self) -> None:
        """Undo in the calling thread what `enter` did to the process, when all workers are done."""


def engine_error(what: str, error: BaseException) -> EngineError:
    """What a library said when it failed, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:200] if lines else type(error).__name__
    return EngineError(f"{what} fails here ({reason})")


def example(backbone: Backbone, count: int) -> np.ndarray:
    """Return a prepared batch of zeros."""
    return np.zeros((count, *backbone.preparation.shape), backbone.preparation.dtype)


def check_batch(batch: np.ndarray, backbone: Backbone) -> None:
    """Raise `InputError` unless `batch` holds what this backbone's preparation gives."""
    shape, dtype = backbone.preparation.shape, backbone.preparation.dtype
    if isinstance(batch, np.ndarray) and batch.ndim and batch.dtype == dtype and batch.shape[1:] == shape:
        return
    got = f"{batch.dtype} {batch.shape}" if isinstance(batch, np.ndarray) else f"a {type(batch).__name__}"
    expected = f"{dtype} (b, {', '.join(map(str, shape))})"
    raise InputError(f"{backbone.name}: expected a batch of prepared inputs {expected}, got {got}")


def pad_batch(batch: np.ndarray, size: int) -> np.ndarray:
    """Return `batch` with zeros behind it, for an engine whose batch is fixed."""
    if len(batch) == size:
        return batch
    return np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)])


class CpuEngine:
    """What engines on the CPU have in common: they work in the thread that calls them."""

    def submit(self, parts: Sequence[np.ndarray]) -> Ticket:
        """Computed at once."""
        rows = self(np.concatenate(parts))  # type: ignore[operator]
        return lambda: rows

    def enter(self) -> None:
        """Nothing to do where the library has threads of its own."""

    def leave(self) -> None:
        """Nothing to undo."""
