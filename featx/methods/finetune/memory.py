"""Do the same work in smaller parts where the memory of the device runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from featx.errors import InputError

Result = TypeVar("Result")


def too_large() -> InputError:
    """Return the error for a device that cannot hold the activations of a single image."""
    return InputError(
        "fine-tuning: one image does not fit into the device's memory; use device='cpu', a smaller backbone "
        "or a smaller image size"
    )


def in_parts(n: int, work: Callable[[slice], Result]) -> list[Result]:
    """Run `work` on all of ``range(n)``, in halves where memory runs out.

    Parameters
    ----------
    n : int
        Number of rows.
    work : callable
        Takes a slice of the rows. It may be called twice for the same rows.

    Returns
    -------
    list
        What `work` returned for consecutive slices.

    Raises
    ------
    InputError
        One row alone is too large.
    """
    try:
        return [work(slice(0, n))]
    except torch.OutOfMemoryError:
        if n == 1:
            raise too_large() from None
    # Outside of the except block, which would keep the failed attempt's tensors alive.
    release()
    half = -(-n // 2)
    first = in_parts(half, work)
    return first + in_parts(n - half, lambda at: work(slice(half + at.start, half + at.stop)))


def release() -> None:
    """Return cached memory to the device before a second attempt."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
