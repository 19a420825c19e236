"""The engines that run everywhere: PyTorch on a CPU or on Apple's GPUs, and the plain network."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from featx.backbones.backbone import Backbone
from featx.engines.allocation import Allocation
from featx.engines.folding import fold_batch_norms
from featx.engines.interface import CpuEngine, check_batch
from featx.errors import InputError
from featx.forks import fresh_in_child, threads_here, uninterrupted

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine(CpuEngine):
    """Runs a backbone with PyTorch: channels last, batch norms folded. See `featx.engines.interface.Engine`.

    Parameters
    ----------
    backbone : Backbone
        Not changed: the engine works on a folded copy.
    device : str
        As `featx.engines.resolve` gives it.
    precision : {"fp32", "bf16", "fp16"}
    allocation : Allocation, optional
        Workers, threads and batch; by default one worker with the threads that torch has.

    Notes
    -----
    A batch that does not fit into memory is halved until it fits, and later batches are split to that size.
    """

    name = "torch"
    #: Images of 224 px in the batch that suits it.
    preferred = 8
    #: Whether it computes batches of one size only.
    fixed_batch = False

    def __init__(
        self,
        backbone: Backbone,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        allocation: Allocation | None = None,
    ):
        self.backbone = backbone
        self.device = device
        self.precision = precision
        self.version = str(torch.__version__)
        self.allocation = allocation or Allocation(1, torch.get_num_threads(), 32)
        self.workers = self.allocation.workers if device == "cpu" else 0
        self.batch_size = self.allocation.batch_size
        self._device = torch.device(device)
        self._dtype = DTYPES[precision]
        self._threads_before: int | None = None
        self._module = self._made(backbone)
        self._to_network = backbone.inputs.to_network(self._device, self._dtype)
        self._largest: int | None = None  # batch that fits, once one did not

    def _made(self, backbone: Backbone) -> Any:
        """Return the network as it runs here."""
        module: Any = fold_batch_norms(backbone.module)  # Module.to's stub lacks memory_format
        return module.to(device=self._device, dtype=self._dtype, memory_format=torch.channels_last)

    @uninterrupted()
    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the embeddings of a prepared batch: float32 (b, dim)."""
        check_batch(batch, self.backbone)
        out = np.empty((len(batch), self.backbone.dim), np.float32)
        start = 0
        while start < len(batch):
            step = min(self._largest or len(batch), len(batch) - start)
            try:
                out[start : start + step] = self._run(batch[start : start + step])
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if self.fixed_batch:
                    raise InputError(
                        f"{self.backbone.name}: a batch of {self.batch_size} images does not fit into "
                        f"memory; engine {self.name!r} was built for that many: use a smaller batch_size"
                    ) from error
                if step == 1:
                    raise InputError(
                        f"{self.backbone.name}: not even one image fits into the memory of {self.device}; "
                        "use a smaller image_size or device='cpu'"
                    ) from error
                self._largest = step // 2
                # The tensors of the failed attempt live as long as its traceback.
                error.__traceback__ = None
                self._empty_cache()
                continue
            start += step
        return out

    def enter(self) -> None:
        """Let the calling thread compute with its part of the cores."""
        before = torch.get_num_threads()
        if self._threads_before is None:  # the first worker of a run
            self._threads_before = before
        torch.set_num_threads(threads_here(self.allocation.threads))

    def leave(self) -> None:
        """Restore how many threads torch uses in new threads: as many as were set last anywhere."""
        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)
            self._threads_before = None

    @torch.inference_mode()
    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self._module(self._network_input(self._upload(batch))).to(torch.float32).cpu().numpy()

    def _network_input(self, batch: torch.Tensor) -> torch.Tensor:
        """Return what the network takes of a prepared batch on the device."""
        return self._to_network(batch)

    def _upload(self, batch: np.ndarray) -> torch.Tensor:
        if not batch.flags.writeable:  # torch warns of tensors on memory that must not be written
            batch = batch.copy()
        return torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)

    def _empty_cache(self) -> None:
        """Free memory that torch keeps, before the next attempt."""


class EagerEngine(TorchEngine):
    """Runs the plain network, channels first, in fp32: other engines are compared with it."""

    name = "eager"

    def _made(self, backbone: Backbone) -> Any:
        if self.device == "cpu":
            return backbone.module
        return copy.deepcopy(backbone.module).to(self._device)

    def _network_input(self, batch: torch.Tensor) -> torch.Tensor:
        return super()._network_input(batch).contiguous()

    def _run(self, batch: np.ndarray) -> np.ndarray:
        with full_fp32() if self._device.type == "cuda" else contextlib.nullcontext():
            return super()._run(batch)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


_switching = fresh_in_child(threading.Lock())
#: Threads that compute in full fp32 now, and the switches as they were before the first of them.
_in_full = 0
_before: list[Any] = []


@contextlib.contextmanager
def full_fp32() -> Iterator[None]:
    """Compute convolutions and matrix products on CUDA in full fp32, whatever the process is set to.

    The switches belong to the process, so the last of several threads restores them.
    """
    global _in_full, _before
    matmul: Any = torch.backends.cuda.matmul
    convolution: Any = getattr(torch.backends.cudnn, "conv", None)
    name, value = "fp32_precision", "ieee"
    if not hasattr(convolution, name):  # torch before 2.9
        convolution, name, value = torch.backends.cudnn, "allow_tf32", False  # type: ignore[assignment]
    backends = (convolution, matmul)
    with _switching:
        if not _in_full:
            _before = [getattr(backend, name) for backend in backends]
        _in_full += 1
        for backend in backends:
            setattr(backend, name, value)
    try:
        yield
    finally:
        with _switching:
            _in_full -= 1
            if not _in_full:
                for backend, old in zip(backends, _before, strict=True):
                    setattr(backend, name, old)
