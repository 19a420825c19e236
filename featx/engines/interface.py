"""The interface of engines, which run a frozen backbone on a device, and what they share."""

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
        ``"torch"``, ``"openvino"``, ``"compile"`` or ``"eager"``.
    device : str
        Where it runs, such as ``"cpu"`` or ``"cuda:0"``.
    precision : {"fp32", "bf16", "fp16", "int8"}
        Precision inside the network; embeddings are always float32.
    version : str
        Version of the library that computes; after a change, parity is checked again.
    workers : int
        Threads that should call it at once, each with its part of the cores; 0 for a device that computes by
        itself while the cores prepare inputs, and takes batches through `submit`.
    batch_size : int
        Inputs that a call should have.
    batch_positions : int or None
        Where lengths vary, and no number of inputs was asked for, this counts instead: the positions (inputs
        times the longest length) that a call should have.
    """

    name: str
    device: str
    precision: str
    version: str
    workers: int
    batch_size: int
    batch_positions: int | None

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Compute the embeddings of a prepared batch (b, ...), any b: float32 (b, dim).

        Any thread may call. A row does not depend on the other inputs of its batch.
        """

    def inputs_of_length(self, length: int) -> int:
        """Return how many inputs of at most this length a call should have, where lengths vary."""

    def submit(self, parts: Sequence[np.ndarray]) -> Ticket:
        """Start to compute a batch, given in parts; return at once where the device computes by itself."""

    def enter(self) -> None:
        """Limit the calling thread, a worker, to its part of the cores."""

    def leave(self) -> None:
        """Undo what `enter` did to the process, in the calling thread, when all workers are done."""


def engine_error(what: str, error: BaseException) -> EngineError:
    """Return an error that gives the message of a failing library in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:200] if lines else type(error).__name__
    return EngineError(f"{what} fails here ({reason})")


def zero_batch(backbone: Backbone, count: int) -> np.ndarray:
    """Return a batch of zeros as engines take it, of the example's length where that varies."""
    if None not in backbone.preparation.shape:
        return np.zeros((count, *backbone.preparation.shape), backbone.preparation.dtype)
    return np.zeros(tuple(backbone.inputs.example(count, "meta").shape), backbone.preparation.dtype)


def check_batch(batch: np.ndarray, backbone: Backbone) -> None:
    """Refuse a batch that is not what the backbone's preparation gives."""
    shape, dtype = backbone.preparation.shape, backbone.preparation.dtype
    right = isinstance(batch, np.ndarray) and batch.dtype == dtype and batch.ndim == 1 + len(shape)
    if right and all(wanted in (None, length) for wanted, length in zip(shape, batch.shape[1:], strict=True)):
        return
    got = f"{batch.dtype} {batch.shape}" if isinstance(batch, np.ndarray) else f"a {type(batch).__name__}"
    expected = f"{dtype} (b, {', '.join('any' if side is None else str(side) for side in shape)})"
    raise InputError(f"{backbone.name}: expected a batch of prepared inputs {expected}, got {got}")


def pad_batch(batch: np.ndarray, size: int) -> np.ndarray:
    """Append zeros to a batch, for an engine that takes batches of one size."""
    if len(batch) == size:
        return batch
    return np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)])


class CpuEngine:
    """Base of engines that compute in the thread that calls them."""

    batch_size: int
    batch_positions: int | None = None

    def inputs_of_length(self, length: int) -> int:
        """Return how many inputs of at most this length a call should have, where lengths vary."""
        return self.batch_size if self.batch_positions is None else max(1, self.batch_positions // length)

    def submit(self, parts: Sequence[np.ndarray]) -> Ticket:
        """Compute the batch at once."""
        rows = self(np.concatenate(parts))  # type: ignore[operator]
        return lambda: rows

    def enter(self) -> None:
        """Do nothing: the library has its own threads."""

    def leave(self) -> None:
        """Do nothing."""
