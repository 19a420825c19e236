"""Build the engine of a plan, with a batch that fits into this machine's memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from featx import machine
from featx.backbones.backbone import Backbone
from featx.backbones.loading import one_at_a_time
from featx.engines.allocation import Allocation, allocate, bytes_per_input
from featx.engines.interface import Engine, engine_error
from featx.engines.resolver import Plan, plans_for, resolve
from featx.engines.torch import CompileEngine, EagerEngine, TorchEngine
from featx.errors import EngineError, FeatxError

# Share of the free memory that the network may take; waiting inputs and caches need some, too.
_MEMORY_SHARE = 0.5

#: Most inputs in a batch whose size is chosen automatically, on a CPU and on a device.
MAX_CPU_BATCH = 64
MAX_DEVICE_BATCH = 512


def make_engine(
    backbone: Backbone,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | str = "auto",
    images: int | None = None,
) -> Engine:
    """Resolve a request and build the engine that runs `backbone` here.

    Parameters
    ----------
    backbone : Backbone
        Not changed.
    engine, device, precision : str
        As for `resolve`.
    batch_size : int or "auto"
        Inputs in a call; ``"auto"`` is what suits the engine and fits into memory.
    images : int, optional
        How many inputs will be computed, if known; for a few, less memory is taken.
    """
    plan = plans_for(backbone, resolve(engine=engine, device=device, precision=precision))[0]
    return build_engine(backbone, plan, batch_size=batch_size, images=images)


@one_at_a_time
def build_engine(
    backbone: Backbone,
    plan: Plan,
    *,
    batch_size: int | str = "auto",
    images: int | None = None,
    threads: int | None = None,
    calibration: bytes | None = None,
) -> Engine:
    """Build the engine of a plan, with `batch_size` and `images` as in `make_engine`.

    `threads` are the cores that may be used, by default those of the process; `calibration`, for int8, is
    what `featx.engines.int8.calibrate` returned. An `EngineError` says that this engine cannot be built for
    this network on this machine; another one may work.
    """
    kind, preferred = _engine_class(plan)
    if plan.engine == "compile" and None in backbone.preparation.shape:
        raise EngineError(
            f"{backbone.name}: engine 'compile' compiles for one shape, and the lengths of "
            f"{backbone.inputs.kind}s vary; use engine='torch' or 'openvino'"
        )
    taken = _allocate(backbone, plan, preferred, batch_size, images, threads)
    options = {"calibration": calibration} if calibration is not None else {}
    try:
        return kind(backbone, device=plan.device, precision=plan.precision, allocation=taken, **options)
    except FeatxError:
        raise
    except Exception as error:  # of any library; another engine may work
        raise engine_error(f"{backbone.name}: {plan}", error) from error


def _allocate(
    backbone: Backbone,
    plan: Plan,
    preferred: int,
    batch_size: int | str,
    images: int | None,
    threads: int | None,
) -> Allocation:
    """Divide cores and memory; where lengths vary, an automatic batch is counted in positions."""
    inputs: Any = backbone.inputs
    on_cpu = plan.device == "cpu"
    in_positions = None in backbone.preparation.shape and batch_size == "auto"
    needed, smallest, usual = bytes_per_input(backbone), 1, 1
    if in_positions:
        # The longest input needs `needed` bytes, and makes a batch of its own if there is room for no more.
        usual = inputs.length
        smallest = -(-inputs.longest.length // usual)
        needed = -(-needed // smallest)
    taken = allocate(
        cores=(threads or machine.cores()) if on_cpu else 1,
        images=images,
        preferred=inputs.scale_batch(preferred),
        largest=MAX_CPU_BATCH if on_cpu else MAX_DEVICE_BATCH,
        bytes_per_input=needed,
        budget=_budget(plan.device),
        batch_size=batch_size,
        smallest=smallest,
    )
    return replace(taken, positions=taken.batch_size * usual) if in_positions else taken


def _engine_class(plan: Plan) -> tuple[Callable[..., Engine], int]:
    """Return what builds the engine, and the batch that suits it, in images of 224 px or the like."""
    if plan.engine == "eager":
        return EagerEngine, EagerEngine.preferred_batch
    if plan.engine == "openvino":
        from featx.engines.openvino import OpenVINOEngine

        return OpenVINOEngine, OpenVINOEngine.preferred_batch
    if plan.device.partition(":")[0] == "cuda":
        from featx.engines.cuda import CudaEngine

        return partial(CudaEngine, compiled=plan.engine == "compile"), CudaEngine.preferred_batch
    if plan.engine == "compile":
        return CompileEngine, CompileEngine.preferred_batch
    return TorchEngine, TorchEngine.preferred_batch if plan.device == "cpu" else 64


def engine_version(plan: Plan) -> str | None:
    """Return the version of the engine of a plan; None where its library does not load."""
    if plan.engine != "openvino":
        return str(torch.__version__)
    from featx.engines.openvino import import_openvino

    try:
        return str(import_openvino().__version__)
    except FeatxError:
        return None


def _budget(device: str) -> int | None:
    """Return how many bytes the network's activations may take; None where free memory is unknown."""
    if device.partition(":")[0] == "cuda":
        free: int | None = torch.cuda.mem_get_info(torch.device(device))[0]
    else:
        free = machine.free_memory()
    return None if free is None else int(_MEMORY_SHARE * free)
