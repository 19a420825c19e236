"""Divide cores and memory among workers: threads that each prepare inputs and run the network on them.

On one core, a small network waits for no other core, and its activations stay in that core's cache. So a CPU
has one worker for each core, and all cores are busy whichever step takes longer. A worker gets several cores
only where there are fewer inputs than cores, or too little memory for one worker per core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from featx.backbones.loading import copy_to_meta

# A layer's input, its output and scratch memory of about that size exist at the same time.
_COPIES = 3


@dataclass(frozen=True)
class Allocation:
    """Workers that call an engine at once, threads (cores) of each worker, and inputs in a call."""

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

    `images` is the number of inputs to compute, None for many. An automatic batch has the `preferred` size of
    the engine, `largest` at most. All workers together use `budget` bytes; None where that is unknown.
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
    """Estimate the memory that one input needs in a network, with `element` bytes for a number.

    The shapes are followed on the meta device, in a copy: other threads may run the network meanwhile.
    """
    largest = _Largest()
    shapes = copy_to_meta(backbone.module)
    batch = backbone.inputs.example(1, "meta")
    try:
        with torch.no_grad(), largest:
            shapes(batch)
    except (RuntimeError, TypeError, NotImplementedError):
        pass  # an operator without a rule for shapes ends the estimate
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
