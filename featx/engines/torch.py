"""The engines of PyTorch on a CPU or Apple's GPU: optimised, plain, and compiled."""

from __future__ import annotations

import contextlib
import copy
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from featx.backbones.backbone import Backbone
from featx.backbones.loading import lay_channels_last
from featx.engines.allocation import Allocation
from featx.engines.folding import fold_batch_norms
from featx.engines.interface import CpuEngine, check_batch, pad_batch, zero_batch
from featx.errors import EngineError, InputError
from featx.forks import fresh_in_child, threads_here, uninterrupted
from featx.kinds import count_of
from featx.options import SMALLER

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine(CpuEngine):
    """Runs a folded copy of the network with PyTorch, channels last. See `featx.engines.interface.Engine`.

    By default it has one worker, with the threads that torch has. A batch that does not fit into memory is
    halved until it fits, and later batches are split to that size.
    """

    name = "torch"
    #: Size of the batch that suits it, in images of 224 px.
    preferred_batch = 8
    #: Whether it computes only batches of one size.
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
        self.batch_size, self.batch_positions = self.allocation.batch_size, self.allocation.positions
        self._device = torch.device(device)
        self._dtype = DTYPES[precision]
        self._threads_before: int | None = None
        self._module = self._prepare_module(backbone)
        self._to_network = backbone.inputs.to_network(self._device, self._dtype)
        self._varies = None in backbone.preparation.shape
        # After a batch that did not fit: inputs of one that does or, where lengths vary, positions.
        self._largest: int | None = None

    def _prepare_module(self, backbone: Backbone) -> Any:
        """Return the network in the form in which this engine runs it."""
        module = fold_batch_norms(backbone.module).to(device=self._device, dtype=self._dtype)
        return lay_channels_last(module)

    @uninterrupted()
    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the embeddings of a prepared batch: float32 (b, dim)."""
        check_batch(batch, self.backbone)
        out = np.empty((len(batch), self.backbone.dim), np.float32)
        start, length = 0, batch.shape[1] if self._varies else 1
        kind = self.backbone.inputs.kind
        while start < len(batch):
            largest = len(batch) if self._largest is None else max(1, self._largest // length)
            step = min(largest, len(batch) - start)
            try:
                out[start : start + step] = self._run(batch[start : start + step])
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if self.fixed_batch:
                    raise InputError(
                        f"{self.backbone.name}: a batch of {count_of(self.batch_size, kind)} does not fit "
                        f"into memory; engine {self.name!r} was built for that many: use a smaller batch_size"
                    ) from error
                if step == 1:
                    raise InputError(
                        f"{self.backbone.name}: not even one {kind} fits into the memory of {self.device}; "
                        f"use a smaller {SMALLER[kind]} or device='cpu'"
                    ) from error
                self._largest = step // 2 * length
                # The tensors of the failed attempt live as long as its traceback.
                error.__traceback__ = None
                self._empty_cache()
                continue
            start += step
        return out

    def enter(self) -> None:
        """Limit the calling thread to its part of the cores."""
        before = torch.get_num_threads()
        if self._threads_before is None:  # the first worker of a run
            self._threads_before = before
        torch.set_num_threads(threads_here(self.allocation.threads))

    def leave(self) -> None:
        """Restore the number of threads that torch uses in new threads, which is what any thread set last."""
        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)
            self._threads_before = None

    @torch.inference_mode()
    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self._module(self._network_input(self._upload(batch))).to(torch.float32).cpu().numpy()

    def _network_input(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn a prepared batch on the device into a batch for the network."""
        return self._to_network(batch)

    def _upload(self, batch: np.ndarray) -> torch.Tensor:
        if not batch.flags.writeable:  # torch warns about tensors on read-only memory
            batch = batch.copy()
        return torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)

    def _empty_cache(self) -> None:
        """Free memory that torch keeps, before the next attempt."""


class EagerEngine(TorchEngine):
    """Runs the plain network in fp32, channels first: the reference of the parity check."""

    name = "eager"

    def _prepare_module(self, backbone: Backbone) -> Any:
        if self.device == "cpu":
            return backbone.module
        return copy.deepcopy(backbone.module).to(self._device)

    def _network_input(self, batch: torch.Tensor) -> torch.Tensor:
        return super()._network_input(batch).contiguous()

    def _run(self, batch: np.ndarray) -> np.ndarray:
        with full_fp32() if self._device.type == "cuda" else contextlib.nullcontext():
            return super()._run(batch)


class CompileEngine(TorchEngine):
    """Compile the network to C++ with ``torch.compile``, with frozen weights, and run it on a CPU.

    This needs a C++ compiler, and half a minute before the first batch. The batch has one size; smaller ones
    are padded.
    """

    name = "compile"
    fixed_batch = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        allocation: Allocation | None = None,
    ):
        allocation = allocation or Allocation(1, torch.get_num_threads(), 8)
        super().__init__(backbone, device=device, precision=precision, allocation=allocation)
        failed: list[Exception] = []

        def compile_now() -> None:
            # In a worker thread of its own: the code is compiled for the number of threads that it has.
            try:
                self.enter()
                self._run(zero_batch(backbone, self.batch_size))
            except Exception as error:
                failed.append(error)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            thread = threading.Thread(target=compile_now, name="featx-compile")
            thread.start()
            thread.join()
        self.leave()
        if failed:
            reason = (str(failed[0]).strip() or type(failed[0]).__name__).splitlines()[0]
            raise EngineError(f"{backbone.name}: torch.compile failed here ({reason}); use engine='torch'")

    def _prepare_module(self, backbone: Backbone) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            return torch.compile(super()._prepare_module(backbone), dynamic=False, options={"freezing": True})

    @torch.inference_mode()
    def _run(self, batch: np.ndarray) -> np.ndarray:
        rows = []
        for start in range(0, len(batch), self.batch_size):
            part = pad_batch(batch[start : start + self.batch_size], self.batch_size)
            out = self._module(self._network_input(self._upload(part)))
            rows.append(out.to(torch.float32).numpy())
        return np.concatenate(rows)[: len(batch)] if rows else np.empty((0, self.backbone.dim), np.float32)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(text in str(error) for text in ("can't allocate memory", "not enough memory", "out of memory"))


_settings_lock = fresh_in_child(threading.Lock())
#: How many threads compute in full fp32 now, and the settings before the first of them.
_users = 0
_before: list[Any] = []


@contextlib.contextmanager
def full_fp32() -> Iterator[None]:
    """Compute convolutions and matrix products on CUDA in full fp32, whatever the process is set to.

    The settings are the process's, so the last of several threads restores them.
    """
    global _users, _before
    matmul: Any = torch.backends.cuda.matmul
    convolution: Any = getattr(torch.backends.cudnn, "conv", None)
    name, value = "fp32_precision", "ieee"
    if not hasattr(convolution, name):  # torch before 2.9
        convolution, name, value = torch.backends.cudnn, "allow_tf32", False  # type: ignore[assignment]
    backends = (convolution, matmul)
    with _settings_lock:
        if not _users:
            _before = [getattr(backend, name) for backend in backends]
        _users += 1
        for backend in backends:
            setattr(backend, name, value)
    try:
        yield
    finally:
        with _settings_lock:
            _users -= 1
            if not _users:
                for backend, old in zip(backends, _before, strict=True):
                    setattr(backend, name, old)
