"""Choose the device and the number format of fine-tuning."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from featx.engines.resolver import fastest_precision, find_device
from featx.engines.torch import DTYPES
from featx.errors import UnknownName

#: Values of `precision` for `choose_arithmetic`.
PRECISIONS = ("auto", *DTYPES)


@dataclass(frozen=True)
class Arithmetic:
    """A device and the number format of its convolutions; weights and losses stay in float32."""

    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """Return ``"fp32"``, ``"bf16"`` or ``"fp16"``."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the forward pass of the network runs."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def scaler(self) -> torch.amp.GradScaler:
        """Return the loss scaling, which only float16 needs: its smallest gradients would vanish."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def choose_arithmetic(device: str | torch.device = "auto", precision: str = "auto") -> Arithmetic:
    """Choose the device and the number format, as `featx.engines.resolve` does for extraction.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is the current CUDA device, else MPS, else the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Format of convolutions and products. ``"auto"`` is bfloat16 where the device computes it natively,
        float16 on older CUDA devices with tensor cores, else float32.

    Raises
    ------
    UnknownName
        There is no such device or precision.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision of fine-tuning", str(precision), PRECISIONS)
    where = find_device(str(device))
    chosen = torch.device(where)
    if device == "auto" and chosen.type == "cuda":
        chosen = torch.device("cuda", torch.cuda.current_device())
    return Arithmetic(chosen, DTYPES[fastest_precision(where) if precision == "auto" else precision])
