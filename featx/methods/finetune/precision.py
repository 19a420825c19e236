"""Choose where fine-tuning runs and in which number format."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from featx.engines.resolver import fastest_precision, find_device
from featx.engines.torch import DTYPES
from featx.errors import UnknownName


@dataclass(frozen=True)
class Arithmetic:
    """A device and the number format of its convolutions; weights and losses stay in float32.

    Parameters
    ----------
    device : torch.device
        Where the network is.
    dtype : torch.dtype
        ``torch.float32`` means no autocast.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """``"fp32"``, ``"bf16"`` or ``"fp16"``."""
        return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the forward pass of the network runs."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def scaler(self) -> torch.amp.GradScaler:
        """Return the loss scaling, which only float16 needs: its smallest gradients would vanish."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


#: What `choose` takes as precision.
PRECISIONS = ("auto", *DTYPES)


def choose(device: str | torch.device = "auto", precision: str = "auto") -> Arithmetic:
    """Choose the device and the number format, by the rules of `featx.engines.resolve`.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is the current CUDA device, else MPS, else the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of convolutions and products. ``"auto"`` is the fastest that the device has natively.

    Returns
    -------
    Arithmetic

    Raises
    ------
    UnknownName
        There is no such device or precision.
    InputError
        The device is not there.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision of fine-tuning", str(precision), PRECISIONS)
    chosen = torch.device(find_device(str(device)))
    if device == "auto" and chosen.type == "cuda":
        chosen = torch.device("cuda", torch.cuda.current_device())
    return Arithmetic(chosen, DTYPES[fastest_precision(chosen) if precision == "auto" else precision])
