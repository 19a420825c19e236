"""The interface of engines, each of which runs a frozen backbone on a device in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from featx.backbones.backbone import Backbone
from featx.errors import EngineError, InputError

#: Call it to wait for a submitted batch and get its rows.
Ticket = Callable[[], np.ndarray]


class Engine(Protocol):
    """Runs a backbone on batches of prepared inputs.

    Attributes
    ----------
    name : str
        One of `featx.engines.ENGINES`.
    device : str
        Where it runs, such as ``"cpu"`` or ``"cuda:0"``.
    precision : {"fp32", "bf16", "fp16", "int8"}
        Of the arithmetic inside the network; embeddings are float32 in any case.
    version : str
        Of the library that computes; after a change the engine passes the parity check again.
    workers : int
        Threads that should call it at once, each with its part of the cores; 0 for a device that computes by
        itself while the cores prepare inputs, and is fed through `submit`.
    batch_size : int
        Inputs that a call should bring.
    """

    name: str
    device: str
    precision: str
    version: str
    workers: int
    batch_size: int

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Compute embeddings. Any thread may call.

        Parameters
        ----------
        batch : ndarray of shape (b, ...)
            Prepared inputs, as the backbone's preparation gives them; any b.

        Returns
        -------
        ndarray of shape (b, dim), float32
            A row does not depend on the other inputs of its batch.
        """

    def submit(self, parts: Sequence[np.ndarray]) -> Ticket:
        """Start to compute a batch, given in parts; return at once where the device works by itself."""

    def enter(self) -> None:
        """Make the calling thread a worker, which uses no more than its part of the cores."""

    def leave(self) -> None:
        """Undo, in the calling thread, what `enter` did to the process; called when all workers are done."""


def engine_error(what: str, error: BaseException) -> EngineError:
    """Return an error with what a failing library said, in one line."""
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
    """Base of engines that compute in the thread that calls them."""

    def submit(self, parts: Sequence[np.ndarray]) -> Ticket:
        """Compute the batch at once."""
        rows = self(np.concatenate(parts))  # type: ignore[operator]
        return lambda: rows

    def enter(self) -> None:
        """Do nothing: the library has its own threads."""

    def leave(self) -> None:
        """Do nothing."""
