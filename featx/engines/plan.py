"""Deciding which engine, device and precision a request means on this machine, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from featx.errors import InputError, UnknownName

ENGINES = ("torch",)
DEVICES = ("cpu", "cuda", "mps")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Plan:
    """How a backbone will be executed.

    Attributes
    ----------
    engine : str
        One of `ENGINES`.
    device : str
        ``"cpu"``, ``"mps"``, ``"cuda"`` or ``"cuda:N"``.
    precision : str
        One of `PRECISIONS`.
    """

    engine: str
    device: str
    precision: str


def resolve(*, engine: str = "auto", device: str = "auto", precision: str = "auto") -> Plan:
    """What a request means here.

    Parameters
    ----------
    engine : {"auto", "torch"}
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        ``"auto"`` is a CUDA device, else Apple's, else the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``"auto"`` is fp32 everywhere, so that the same images have the same embeddings on every machine.

    Raises
    ------
    UnknownName
        A name that does not exist.
    InputError
        A device that is not there, or a precision it does not have.
    """
    if engine != "auto" and engine not in ENGINES:
        raise UnknownName("engine", str(engine), ("auto", *ENGINES))
    if precision != "auto" and precision not in PRECISIONS:
        raise UnknownName("precision", str(precision), ("auto", *PRECISIONS))
    where = _device(str(device))
    kind = where.partition(":")[0]
    chosen = "fp32" if precision == "auto" else precision
    if chosen == "fp16" and kind != "cuda":
        raise InputError(
            f"precision 'fp16' needs a CUDA device, and this runs on {where!r}; use 'fp32' or 'bf16'"
        )
    if chosen == "bf16" and (kind == "mps" or (kind == "cuda" and not torch.cuda.is_bf16_supported())):
        raise InputError(f"precision 'bf16' is not supported on {where!r} here; use 'fp32'")
    return Plan("torch" if engine == "auto" else engine, where, chosen)


def _device(device: str) -> str:
    kind, colon, number = device.partition(":")
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if kind not in DEVICES or (colon and (kind != "cuda" or not number.isdigit())):
        raise UnknownName("device", device, ("auto", *DEVICES, "cuda:0"))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps' is not available here; use device='cpu' or 'auto'")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise InputError(
                f"device {device!r} is not available here: torch {torch.__version__} sees {count} CUDA "
                "devices; use device='cpu' or 'auto'"
            )
    return device
