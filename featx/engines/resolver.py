"""Resolve engine, device and precision: what a request means on this machine. Nothing is built."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch

from featx import machine
from featx.errors import InputError, MissingExtra, UnknownName
from featx.forks import CUDA_LOST, cuda_is_lost
from featx.options.checks import check_device
from featx.options.table import ENGINES, PRECISIONS


@dataclass(frozen=True)
class Plan:
    """How a backbone will run: engine, device and precision, none of them ``"auto"``."""

    engine: str
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} on {self.device}"


def resolve(*, engine: str = "auto", device: str = "auto", precision: str = "auto") -> Plan:
    """Return the engine, device and precision that a request means on this machine.

    Parameters
    ----------
    engine : {"auto", "torch", "openvino", "compile", "eager"}
        ``"auto"`` is OpenVINO on a CPU where it is installed, else PyTorch.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        ``"auto"`` is a CUDA device, else Apple's, else the CPU.
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        ``"auto"`` is bf16 where the device has it natively, fp16 on GPUs before those, else fp32.

    Raises
    ------
    UnknownName
        There is no engine, device or precision of this name.
    InputError
        The device is not there, or does not have this precision or engine.
    MissingExtra
        A package is not installed.
    """
    if engine not in ENGINES:
        raise UnknownName("engine", str(engine), ENGINES)
    if precision not in PRECISIONS:
        raise UnknownName("precision", str(precision), PRECISIONS)
    where = find_device(str(device))
    kind = where.partition(":")[0]
    chosen = fastest_precision(where) if precision == "auto" else precision
    if engine == "eager" and precision == "auto":
        chosen = "fp32"
    if chosen == "fp16" and kind != "cuda":
        raise InputError(
            f"precision 'fp16' needs a CUDA device, and this runs on {where!r}; use 'fp32' or 'bf16'"
        )
    if chosen == "bf16" and (kind == "mps" or (kind == "cuda" and not torch.cuda.is_bf16_supported())):
        raise InputError(f"precision 'bf16' is not supported on {where!r} here; use 'fp32'")
    if engine == "eager" and chosen != "fp32":
        raise InputError(f"engine 'eager' is the reference in fp32, and precision is {chosen!r}; use 'torch'")
    if engine == "openvino" and kind != "cpu":
        raise InputError(f"engine 'openvino' runs on the CPU, and this runs on {where!r}; use 'torch'")
    if engine == "compile" and kind == "mps":
        raise InputError("engine 'compile' is not supported on 'mps'; use 'torch'")
    if chosen == "int8":
        if engine not in ("auto", "openvino") or kind != "cpu":
            raise InputError(
                "precision 'int8' needs engine 'openvino' on the CPU, and this is "
                f"{engine!r} on {where!r}; use device='cpu', or 'bf16'"
            )
        _require("openvino", "openvino", "precision 'int8'")
        _require("nncf", "int8", "precision 'int8'")
        engine = "openvino"
    if engine == "openvino":
        _require("openvino", "openvino", "engine 'openvino'")
    if engine == "auto":
        engine = _fastest_on_cpu() if kind == "cpu" else "torch"
    return Plan(engine, where, chosen)


def fallbacks(plan: Plan) -> list[Plan]:
    """Return the plans to try, in order, where one cannot be built or fails the parity check.

    First PyTorch in the same precision, then the same engine in fp32, then PyTorch in fp32, and last the
    plain network.
    """
    if plan.engine == "eager":
        return []
    order = [Plan("torch", plan.device, plan.precision)] if plan.precision != "int8" else []
    order += [Plan(engine, plan.device, "fp32") for engine in (plan.engine, "torch", "eager")]
    return [other for other in dict.fromkeys(order) if other != plan]


def plans_for(backbone: Any, plan: Plan) -> list[Plan]:
    """Return `plan` and its fallbacks, as far as they can run this backbone.

    A graph file is run by OpenVINO or, in place of any engine of PyTorch, by its reference.
    """
    order = [plan, *fallbacks(plan)]
    first = getattr(backbone, "members", (backbone,))[0]
    if getattr(getattr(first, "architecture", None), "in_torch", True):
        return order
    return [p for p in order if p.engine == "openvino"] + [Plan("eager", "cpu", "fp32")]


def installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # None for a mere folder of that name


def _require(package: str, extra: str, purpose: str) -> None:
    if not installed(package):
        raise MissingExtra(package, extra, purpose)


def _fastest_on_cpu() -> str:
    return "openvino" if installed("openvino") else "torch"


def fastest_precision(device: str | torch.device) -> str:
    """Return the fastest arithmetic that a device has natively: bf16, fp16 on GPUs before it, else fp32."""
    kind = torch.device(device).type
    if kind == "cpu":
        return "bf16" if machine.cpu_has_bf16() else "fp32"
    if kind == "cuda":
        capability = torch.cuda.get_device_capability(torch.device(device))
        return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    return "fp32"


def find_device(device: str) -> str:
    """Return the device that a request means here; ``"auto"`` is CUDA, else Apple's GPU, else the CPU.

    A device that is not available is refused; so is CUDA in a process that was forked after CUDA was used.
    """
    kind, _, number = device.partition(":")
    if (device == "auto" or kind == "cuda") and cuda_is_lost():
        # Refused with "auto", too: the CPU in its place would be slow and give other rows without a word.
        raise InputError(f"device {device!r}: {CUDA_LOST}")
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    check_device("device", device)
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
