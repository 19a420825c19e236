"""Divide cores and memory among workers: threads that each prepare inputs and run the network on them.

On one core, a small network waits for no other core, and its activations stay in that core's cache. So a CPU
has one worker for each core, and all cores are busy whichever step takes longer. A worker gets several cores
only where there are fewer inputs than cores, or too little memory for one worker per core.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from featx.backbones.loading import copy_to_meta

# A layer's input, its output and scratch memory of about that size exist at the same time.
_COPIES = 3


@dataclass(frozen=True)
class Allocation:
    """Workers that call an engine at once, threads (cores) of each worker, and inputs in a call.

    Where the lengths of inputs vary, a call has at most `positions` positions (inputs times the longest
    length), and any number of inputs; None if `batch_size` was asked for, or lengths do not vary.
    """

    workers: int
    threads: int
    batch_size: int
    positions: int | None = None


def allocate(
    *,
    cores: int,
    images: int | None,
    preferred: float,
    largest: int,
    bytes_per_input: int,
    budget: int | None,
    batch_size: int | str = "auto",
    smallest: int = 1,
) -> Allocation:
    """Divide the cores of a CPU among workers.

    `images` is the number of inputs to compute, None for many. An automatic batch has the `preferred` size of
    the engine, `largest` at most. All workers together use `budget` bytes; None where that is unknown. A
    call may need the memory of `smallest` inputs even if its batch is smaller.
    """
    automatic = batch_size == "auto"
    batch = max(1, min(largest, round(preferred))) if automatic else int(batch_size)
    room = cores * max(batch, smallest) if budget is None else max(1, budget // max(1, bytes_per_input))
    if automatic:
        batch = max(1, min(batch, room // cores))
    workers = max(1, min(cores, room // max(batch, smallest)))
    if images is not None:
        if automatic:
            batch = max(1, min(batch, -(-images // cores)))
        workers = max(1, min(workers, -(-images // batch)))
    return Allocation(workers=workers, threads=max(1, cores // workers), batch_size=batch)


def bytes_per_input(backbone: Any, element: int = 4) -> int:
    """Estimate the memory that one input needs in a network, with `element` bytes for a number.

    Where lengths vary, it is the longest input. The shapes are followed on the meta device, in a copy: other
    threads may run the network meanwhile.
    """
    largest = _Largest()
    shapes = copy_to_meta(backbone.module)
    longest = getattr(backbone.inputs, "longest", None)
    batch = backbone.inputs.example(1, "meta") if longest is None else longest.example(1, "meta")
    # Of attention, the scores of a long input are its largest tensor, unless they are computed in tiles.
    plain = contextlib.nullcontext() if longest is None else sdpa_kernel(SDPBackend.MATH)
    try:
        with torch.no_grad(), plain, largest:
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
