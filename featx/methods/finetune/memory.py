"""Do the same work in smaller parts when the device runs out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from featx.errors import InputError
from featx.options import SMALLER

Result = TypeVar("Result")


def out_of_memory_error(kind: str = "image") -> InputError:
    """Return the error for a device that cannot hold the activations of a single input."""
    return InputError(
        f"fine-tuning: one {kind} does not fit into the device's memory; use device='cpu', a smaller "
        f"backbone or a smaller {SMALLER[kind]}"
    )


def run_in_parts(n: int, work: Callable[[slice], Result], kind: str = "image") -> list[Result]:
    """Run `work` on slices of ``range(n)``, halved until they fit into memory; return the results in order.

    `work` may be called twice for the same rows. An `InputError` says that one row alone is too large.
    """
    try:
        return [work(slice(0, n))]
    except torch.OutOfMemoryError:
        if n == 1:
            raise out_of_memory_error(kind) from None
    # Outside of the except block, which would keep the failed attempt's tensors alive.
    free_device_memory()
    half = -(-n // 2)
    first = run_in_parts(half, work, kind)
    return first + run_in_parts(n - half, lambda at: work(slice(half + at.start, half + at.stop)), kind)


def free_device_memory() -> None:
    """Return cached memory to the device before a second attempt."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
