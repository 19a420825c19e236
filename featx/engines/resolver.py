"""Deciding which engine, device and precision a request means on this machine, before anything is built."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch

from featx import machine
from featx.errors import InputError, MissingExtra, UnknownName
from featx.forks import CUDA_LOST, cuda_is_lost

ENGINES = ("torch", "openvino", "compile", "eager")
DEVICES = ("cpu", "cuda", "mps")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


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

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} on {self.device}"


def resolve(*, engine: str = "auto", device: str = "auto", precision: str = "auto") -> Plan:
    """What a request means here.

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
        A name that does not exist.
    InputError
        A device that is not there, or a precision or engine that it does not have.
    MissingExtra
        A package that is not installed.
    """
    if engine != "auto" and engine not in ENGINES:
        raise UnknownName("engine", str(engine), ("auto", *ENGINES))
    if precision != "auto" and precision not in PRECISIONS:
        raise UnknownName("precision", str(precision), ("auto", *PRECISIONS))
    where = resolve_device(str(device))
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
    """What takes the place of a plan whose rows cannot be trusted, or that cannot be built, in order.

    The same precision by PyTorch; then full precision by the same engine; then by PyTorch; and at last the
    network as it is.
    """
    order = [Plan("torch", plan.device, plan.precision)] if plan.precision != "int8" else []
    order += [Plan(plan.engine, plan.device, "fp32"), Plan("torch", plan.device, "fp32")]
    order += [Plan("eager", plan.device, "fp32")]
    kept = [other for other in dict.fromkeys(order) if other != plan]
    return kept if plan.engine != "eager" else []


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a folder that happens to have its name has none


def _require(package: str, extra: str, purpose: str) -> None:
    if not installed(package):
        raise MissingExtra(package, extra, purpose)


def _fastest_on_cpu() -> str:
    return "openvino" if installed("openvino") else "torch"


def fastest_precision(device: str) -> str:
    """Return the fastest number format of a device that keeps embeddings practically the same."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return "bf16" if machine.cpu_has_bf16() else "fp32"
    if kind == "cuda":
        capability = torch.cuda.get_device_capability(torch.device(device))
        return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    return "fp32"


def resolve_device(device: str) -> str:
    """Return the device that a request means, checked to be there."""
    kind, colon, number = device.partition(":")
    if (device == "auto" or kind == "cuda") and cuda_is_lost():
        # With "auto" too: the CPU in its place would be slow, and give other rows, in silence.
        raise InputError(f"device {device!r}: {CUDA_LOST}")
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
