"""How cores and memory are shared between workers: threads that each prepare images and run the network.

A small network on one core has no partner to wait for, and what it computes stays in that core's cache. So
on a CPU every core gets a worker of its own, which decodes a few images and takes them through the network,
and the cores are busy all the time whichever of the two takes longer. Several threads share a worker only
where there are fewer images than cores, or less memory than the workers would need.
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
    """What one engine may take.

    Attributes
    ----------
    workers : int
        Threads that call it at once.
    threads : int
        Cores of each.
    batch_size : int
        Images in a call.
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
    """Divide the cores of a CPU.

    Parameters
    ----------
    cores : int
        That may be used.
    images : int or None
        To be computed; None for many.
    preferred : float
        Inputs in the batch that suits the engine.
    largest : int
        Images of any size in a batch at most.
    bytes_per_input : int
        Of memory that an image needs in the network.
    budget : int or None
        Bytes that all workers may use; None when not known.
    batch_size : int or "auto"
        What the user wants.
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
    """Notes the largest tensor that any operator gives."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out
