"""How cores and memory are shared between workers: threads that each prepare images and run the network.

A small network on one core has no partner to wait for, and what it computes stays in that core's cache. So
on a CPU every core gets a worker of its own, which decodes a few images and takes them through the network,
and the cores are busy all the time whichever of the two takes longer. Several threads share a worker only
where there are fewer images than cores, or less memory than the workers would need.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from featx.backbones.loading import copy_to_meta

#: Images of 224 x 224 pixels for which an engine states its preferred batch.
_PIXELS = 224 * 224

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
    size: tuple[int, int],
    preferred: int,
    largest: int,
    bytes_per_image: int,
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
    size : (int, int)
        (height, width) that the network sees.
    preferred : int
        Images of 224 x 224 pixels in the batch that suits the engine; of larger ones fewer, of smaller ones
        more.
    largest : int
        Images of any size in a batch at most.
    bytes_per_image : int
        Of memory that an image needs in the network.
    budget : int or None
        Bytes that all workers may use; None when not known.
    batch_size : int or "auto"
        What the user wants.
    """
    if batch_size == "auto":
        batch = max(1, min(largest, round(preferred * _PIXELS / (size[0] * size[1]))))
        if images is not None:
            batch = max(1, min(batch, -(-images // cores)))
    else:
        batch = int(batch_size)
    room = cores * batch if budget is None else max(1, budget // max(1, bytes_per_image))
    if batch_size == "auto":
        batch = max(1, min(batch, room // cores))
    workers = max(1, min(cores, room // batch))
    if images is not None:
        workers = max(1, min(workers, -(-images // batch)))
    return Allocation(workers=workers, threads=max(1, cores // workers), batch_size=batch)


def bytes_per_image(module: nn.Module, size: tuple[int, int], element: int = 4) -> int:
    """An estimate of the memory that one image needs in a network, without running it.

    Parameters
    ----------
    module : torch.nn.Module
        float (n, 3, h, w) to (n, dim). The shapes of a copy are followed on the meta device; other threads
        may run it meanwhile.
    size : (int, int)
        (height, width).
    element : int, default=4
        Bytes of a number.
    """
    largest = _Largest()
    shapes = copy_to_meta(module)
    try:
        with torch.no_grad(), largest:
            shapes(torch.empty(1, 3, *size, device="meta"))
    except (RuntimeError, TypeError, NotImplementedError):
        pass  # an operator without a rule for shapes: what was seen until there
    return _COPIES * element * max(largest.numel, 3 * size[0] * size[1])


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
