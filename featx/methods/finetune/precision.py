"""Choose where fine-tuning runs and in which number format."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from featx import machine
from featx.errors import InputError, UnknownName
from featx.forks import CUDA_LOST, cuda_is_lost


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
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose(device: str | torch.device = "auto", precision: str = "auto") -> Arithmetic:
    """Choose the device and the number format.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is CUDA, else MPS, else the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of convolutions and products. ``"auto"`` is bfloat16 on CUDA devices and processors that have it
        natively, float16 on older CUDA devices, else float32. Processors that only emulate bfloat16 are
        slower with it.

    Returns
    -------
    Arithmetic

    Raises
    ------
    InputError
        The device does not exist here.
    UnknownName
        There is no such precision.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision of fine-tuning", str(precision), PRECISIONS)
    chosen = _device(device)
    if precision != "auto":
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        return Arithmetic(chosen, dtypes[precision])
    if chosen.type == "cuda":
        native = torch.cuda.get_device_capability(chosen) >= (8, 0)
        return Arithmetic(chosen, torch.bfloat16 if native else torch.float16)
    if chosen.type == "cpu" and machine.cpu_has_bf16():
        return Arithmetic(chosen, torch.bfloat16)
    return Arithmetic(chosen, torch.float32)


def _device(device: str | torch.device) -> torch.device:
    if (device == "auto" or str(device).startswith("cuda")) and cuda_is_lost():
        raise InputError(f"device {str(device)!r}: {CUDA_LOST}")
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r}") from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if chosen.type not in present:
        raise InputError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {str(device)!r}")
    if not present[chosen.type]:
        raise InputError(f"device: {str(device)!r} is not available here; use 'auto' or 'cpu'")
    return chosen
