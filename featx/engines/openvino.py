"""The engine that runs networks with OpenVINO (extra ``openvino``): the fastest one on CPUs."""

from __future__ import annotations

import os
import queue
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from torch import fx

from featx.backbones.backbone import Backbone
from featx.backbones.graphs.network import GraphFeatures
from featx.backbones.loading import one_at_a_time
from featx.backbones.openvino_import import import_openvino
from featx.backbones.signal_stack import kept_signal_stack
from featx.engines.allocation import Allocation
from featx.engines.folding import fold_batch_norms
from featx.engines.fourier import needs_fp32, replace_transforms
from featx.engines.interface import CpuEngine, check_batch, engine_error, pad_batch
from featx.errors import EngineError, InputError
from featx.forks import REMEDY, uninterrupted
from featx.kinds import count_of
from featx.machine import cores

#: What torch's tracer says of a branch on a value or on a shape.
_BRANCH = "Converting a tensor to a Python boolean"


class OpenVINOEngine(CpuEngine):
    """Runs a backbone with OpenVINO on the CPU. See `featx.engines.interface.Engine`.

    Parameters
    ----------
    precision : {"fp32", "bf16", "int8"}
        A CPU without bf16 computes in fp32 instead, and so does a network with Fourier transforms of frames
        whose length is no power of two. int8 needs a `calibration`.
    allocation : Allocation, optional
        By default one worker with all cores.
    calibration : bytes, optional
        A quantised network, as `featx.engines.int8.calibrate` returns it.

    Notes
    -----
    The batch has one size; smaller ones are padded. Where lengths vary, the axes of inputs and of positions
    are dynamic, and nothing is padded. Each worker has one of OpenVINO's streams, whose threads compute while
    the worker waits. A forked child has none of these threads, so it builds its own engine.
    """

    name = "openvino"
    #: Size of the batch that suits it, in images of 224 px.
    preferred_batch = 4

    def __init__(
        self,
        backbone: Backbone,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        allocation: Allocation | None = None,
        calibration: bytes | None = None,
    ):
        ov = import_openvino()
        self.backbone, self.device, self.precision = backbone, device, precision
        self.version = ov.__version__
        allocation = allocation or Allocation(1, cores(), 8)
        self.workers = allocation.workers
        model = to_openvino(backbone) if calibration is None else read_model(calibration)
        self.batch_size = _set_batch(model, allocation.batch_size, backbone)
        self.batch_positions = allocation.positions
        hint = {"fp32": "f32", "int8": "f32"}.get(precision, precision)
        options = {
            "NUM_STREAMS": str(allocation.workers),
            "INFERENCE_NUM_THREADS": str(allocation.workers * allocation.threads),
            "INFERENCE_PRECISION_HINT": "f32" if needs_fp32(model) else hint,
            "ENABLE_CPU_PINNING": False,  # workers also prepare inputs, and the system places them best
        }
        try:
            with kept_signal_stack():
                self._compiled = ov.Core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise _conversion_error(backbone, error) from error
        self._takes_any = None in backbone.preparation.shape
        self._process = os.getpid()
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(allocation.workers):
            self._requests.put(self._compiled.create_infer_request())

    @uninterrupted()
    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the embeddings of a prepared batch: float32 (b, dim)."""
        check_batch(batch, self.backbone)
        if self._process != os.getpid():
            raise EngineError(
                f"{self.backbone.name}: this engine was built before the process was forked, and its threads "
                f"are not in the child; build one here, or {REMEDY}"
            )
        out = np.empty((len(batch), self.backbone.dim), np.float32)
        request = self._requests.get()
        size = self.inputs_of_length(batch.shape[1]) if self._takes_any else self.batch_size
        try:
            for start in range(0, len(batch), size):
                part = batch[start : start + size]
                filled = part if self._takes_any else pad_batch(part, size)
                rows = request.infer([np.ascontiguousarray(filled)], share_inputs=True, share_outputs=True)[0]
                out[start : start + len(part)] = rows[: len(part)]
        except RuntimeError as error:
            said = engine_error(f"{self.backbone.name}: OpenVINO", error)
            raise InputError(
                f"{said} with a batch of {count_of(size, self.backbone.inputs.kind)}; use a smaller "
                "batch_size or engine='torch'"
            ) from error
        finally:
            self._requests.put(request)
        return out


@one_at_a_time
def to_openvino(backbone: Backbone) -> Any:
    """Convert the network to an OpenVINO model that takes a prepared batch.

    The graph of a file is read by OpenVINO itself.
    """
    ov = import_openvino()
    try:
        if isinstance(backbone.module, GraphFeatures):
            model = backbone.module.to_openvino(backbone.inputs)
            return backbone.inputs.add_to_openvino(replace_transforms(model))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            network, example = fold_batch_norms(backbone.module), backbone.inputs.example(1)
            model = ov.convert_model(network, example_input=example)
        # Of a library's network, torch's tracer speaks of shapes, which are constant here; a traced graph has
        # no branches.
        source = getattr(backbone, "members", (backbone,))[0].identity["source"]  # layers of one network
        is_code = source in ("module", "hub") and not isinstance(backbone.module, fx.GraphModule)
        if is_code and any(_BRANCH in str(one.message) for one in said):
            raise ValueError("its forward may branch on values, and OpenVINO would fix the branch")
    except Exception as error:  # OpenVINO raises classes of its own for each stage
        raise _conversion_error(backbone, error) from error
    return backbone.inputs.add_to_openvino(replace_transforms(model))


def _set_batch(model: Any, size: int, backbone: Backbone) -> int:
    """Give a model the batch size `size`, or 1 where its graph was made for one input; return which."""
    if None in backbone.preparation.shape:
        model.reshape([-1, *(-1 if side is None else side for side in backbone.preparation.shape)])
        return size
    for batch in dict.fromkeys((size, 1)):
        try:
            model.reshape([batch, *backbone.preparation.shape])
        except RuntimeError:  # a shape inside the graph is constant
            if batch == 1:
                raise
            continue
        if batch == 1 or model.output(0).partial_shape[0] == batch:
            break
    return batch


def serialise_model(model: Any) -> bytes:
    """Write an OpenVINO model as bytes: the length of its XML, the XML, its weights."""
    ov = import_openvino()
    with tempfile.TemporaryDirectory() as folder:
        xml, weights = Path(folder) / "model.xml", Path(folder) / "model.bin"
        ov.serialize(model, xml, weights)
        text = xml.read_bytes()
        return len(text).to_bytes(8, "little") + text + weights.read_bytes()


def read_model(data: bytes) -> Any:
    """Read a model that `serialise_model` wrote; nothing in it is executed."""
    ov = import_openvino()
    length = int.from_bytes(data[:8], "little")
    weights = np.frombuffer(data, np.uint8, offset=8 + length)
    return ov.Core().read_model(data[8 : 8 + length], ov.Tensor(np.array(weights)))


def _conversion_error(backbone: Backbone, error: BaseException) -> EngineError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][:200] if lines else type(error).__name__
    return EngineError(f"{backbone.name}: OpenVINO cannot run it ({reason}); use engine='torch'")
