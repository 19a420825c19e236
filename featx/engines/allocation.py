"""Divide cores and memory among workers: threads that each prepare inputs and run the network.

A small network on one core waits for no other core, and its activations stay in that core's cache. So on a
CPU each core has one worker, which prepares a few inputs and runs the network on them: all cores are busy
whichever step takes longer. A worker gets several cores only where there are fewer inputs than cores, or too
little memory for that many workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from featx.backbones.loading import copy_to_meta

# A layer has its input, its output and scratch memory of about that size at the same time.
_COPIES = 3


@dataclass(frozen=True)
class Allocation:
    """Cores and batch size of one engine.

    Attributes
    ----------
    workers : int
        Threads that call it at once.
    threads : int
        Cores of each worker.
    batch_size : int
        Inputs in a call.
    """

    workers: int
    threads: int
    batch_size: int


def allocate(
    *,
    cores: int,
    images: int | None,
    preferred: float,
    largest: int,
    bytes_per_input: int,
    budget: int | None,
    batch_size: int | str = "auto",
) -> Allocation:
    """Divide the cores of a CPU among workers.

    Parameters
    ----------
    cores : int
        That may be used.
    images : int or None
        Number of inputs to compute; None for many.
    preferred : float
        Inputs in the batch that suits the engine.
    largest : int
        Most inputs in a batch.
    bytes_per_input : int
        Memory that an input needs in the network.
    budget : int or None
        Bytes that all workers together may use; None where it is unknown.
    batch_size : int or "auto"
        As the user asks.
    """
    if batch_size == "auto":
        batch = max(1, min(largest, round(preferred)))
        if images is not None:
            batch = max(1, min(batch, -(-images // cores)))
    else:
        batch = int(batch_size)
    room = cores * batch if budget is None else max(1, budget // max(1, bytes_per_input))
    if batch_size == "auto":
        batch = max(1, min(batch, room // cores))
    workers = max(1, min(cores, room // batch))
    if images is not None:
        workers = max(1, min(workers, -(-images // batch)))
    return Allocation(workers=workers, threads=max(1, cores // workers), batch_size=batch)


def bytes_per_input(backbone: Any, element: int = 4) -> int:
    """Estimate the memory that one input needs in a network, without running it.

    Parameters
    ----------
    backbone : Backbone
        The shapes of a copy are followed on the meta device; other threads may run it meanwhile.
    element : int, default=4
        Bytes of a number.
    """
    largest = _Largest()
    shapes = copy_to_meta(backbone.module)
    batch = backbone.inputs.example(1, "meta")
    try:
        with torch.no_grad(), largest:
            shapes(batch)
    except (RuntimeError, TypeError, NotImplementedError):
        pass  # an operator without a rule for shapes: what was seen until there
    return _COPIES * element * max(largest.numel, batch.numel())


class _Largest(TorchDispatchMode):
    """Note the size of the largest tensor that any operator returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out
