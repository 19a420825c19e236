"""The engine for NVIDIA's GPUs, which copies while it computes and replays recorded CUDA graphs."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from featx.backbones.backbone import Backbone
from featx.engines.allocation import Allocation
from featx.engines.interface import Ticket, zero_batch
from featx.engines.torch import TorchEngine, full_fp32, out_of_memory

#: Batches under way at a time: one is computed, one is copied, one is filled.
SLOTS = 3
#: Batches of one shape after which a slot records a graph, where lengths vary.
WORTH_RECORDING = 4


class CudaEngine(TorchEngine):
    """Runs a backbone on a CUDA device. See `featx.engines.interface.Engine`.

    Parameters
    ----------
    backbone, device, precision
        In fp32, convolutions do not use TF32, whose 10 bits of mantissa would make embeddings from a GPU and
        from a CPU differ by a thousandth.
    allocation : Allocation, optional
        Only its batch size counts here.
    compiled : bool, default=False
        Use ``torch.compile``: a minute of start-up for faster kernels.

    Notes
    -----
    A batch is written into pinned memory, copied on a stream of its own, and computed by a CUDA graph that
    was recorded for a full batch, so that kernels are not launched one by one. A batch that is not full
    leaves the rest of the graph's input as it was. Where no graph can be recorded, the network runs as usual.

    Where lengths vary, so do the numbers of inputs, and a graph is recorded for each of a few lengths, to
    which batches are padded, once it is worth its time. Other batches run as usual, at their own length.
    """

    name = "torch"
    preferred_batch = 128

    def __init__(
        self,
        backbone: Backbone,
        *,
        device: str = "cuda",
        precision: str = "bf16",
        allocation: Allocation | None = None,
        compiled: bool = False,
    ):
        self._compiled = compiled
        super().__init__(
            backbone,
            device=device,
            precision=precision,
            allocation=allocation or Allocation(1, 1, self.preferred_batch),
        )
        if compiled:
            self.name = "compile"
        self._copies = torch.cuda.Stream(self._device)
        inputs: Any = backbone.inputs
        self._longest: int | None = inputs.longest.length if self._varies else None
        self._shortest: int = inputs.shortest if self._varies else 1
        # All graphs share their memory: they run one by one, and the rows of one are copied before the next.
        self.pool = torch.cuda.graph_pool_handle()
        self._slots: list[_Slot] = []
        self._turn = 0
        self._lock = threading.Lock()

    def _prepare_module(self, backbone: Backbone) -> Any:
        module = super()._prepare_module(backbone)
        return torch.compile(module, dynamic=False) if self._compiled else module

    def inputs_of_length(self, length: int) -> int:
        """Return how many inputs of at most this length a call should have, where lengths vary."""
        return super().inputs_of_length(self.padded_length(length)) if self._varies else self.batch_size

    def padded_length(self, length: int) -> int:
        """Return the length for which a graph is recorded that takes inputs of this length.

        There are eight up to 64 positions, and four from each power of two to the next. A network that does
        not mask padding takes every length as it is.
        """
        assert self._longest is not None
        if not self.backbone.preparation.masks:
            return length
        step = max(8, (1 << (length - 1).bit_length()) // 8)
        return max(length, min(-(-length // step) * step, self._longest))

    def full_batch(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a full batch that takes inputs of batches (b, *shape)."""
        if not self._varies:
            return (self.batch_size, *shape)
        return (self.inputs_of_length(shape[0]), self.padded_length(shape[0]), *shape[1:])

    @property
    def room(self) -> int:
        """Numbers in the largest batch."""
        shape = self.backbone.preparation.shape
        if self._longest is None:
            return self.batch_size * math.prod(shape)
        positions = max(self.batch_positions or self.batch_size * self._longest, self._longest)
        return positions * math.prod(shape[1:])

    @property
    def most_rows(self) -> int:
        """Inputs in the largest batch, which has the shortest ones."""
        return self.batch_size if self.batch_positions is None else self.inputs_of_length(self._shortest)

    def submit(self, parts: Sequence[np.ndarray]) -> Ticket:
        """Start to compute a batch; the ticket waits for its rows."""
        count = sum(len(part) for part in parts)
        with self._lock:
            if self._largest is None and 0 < count <= self.full_batch(parts[0].shape[1:])[0]:
                try:
                    with torch.cuda.device(self._device):
                        return self._slot().start(parts, count)
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not out_of_memory(error):
                        raise
                    # The tensors of the failed attempt live as long as its traceback.
                    error.__traceback__ = None
                    self._slots.clear()
                    self._empty_cache()
                    most = self.batch_positions or self.batch_size * (self._longest or 1)
                    self._largest = max(1, most // 2)
        batch = np.concatenate(parts)
        return lambda: self(batch)  # in smaller parts, one after the other

    def _slot(self) -> _Slot:
        if len(self._slots) < SLOTS:
            self._slots.append(_Slot(self))
            return self._slots[-1]
        self._turn = (self._turn + 1) % SLOTS
        return self._slots[self._turn]

    @torch.inference_mode()
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Compute the rows of a prepared batch on the device: float32 (b, dim), there."""
        with self._numerics():
            rows: torch.Tensor = self._module(self._network_input(batch))
            return rows.to(torch.float32)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self.forward(self._upload(batch)).cpu().numpy()

    def _empty_cache(self) -> None:
        torch.cuda.empty_cache()

    def _numerics(self) -> contextlib.AbstractContextManager[None]:
        return full_fp32() if self.precision == "fp32" else contextlib.nullcontext()


def pinned_memory(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return page-locked memory, between which and the device copies run asynchronously."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


class _Slot:
    """Memory for one batch: pinned inputs, their copy on the device, and pinned rows."""

    def __init__(self, engine: CudaEngine) -> None:
        dtype = torch.from_numpy(zero_batch(engine.backbone, 1)).dtype
        self._engine = engine
        self._inputs = pinned_memory((engine.room,), dtype)
        self._rows = pinned_memory((engine.most_rows, engine.backbone.dim), torch.float32)
        self._input = torch.zeros_like(self._inputs, device=engine._device)
        self._copied, self._done = torch.cuda.Event(), torch.cuda.Event()
        self._pending_rows: _PendingRows | None = None
        #: Graph and output by the shape of a full batch; None where none can be recorded.
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, torch.Tensor] | None] = {}
        self._seen: Counter[tuple[int, ...]] = Counter()

    def _find_graph(
        self, shape: tuple[int, ...], count: int
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor] | None:
        """Return the graph for full batches of a shape, recorded now or before, if it serves `count` inputs.

        Where lengths vary, a shape may come once, and a few inputs take less time without the graph.
        """
        if self._engine._varies:
            self._seen[shape] += 1
            if self._seen[shape] < WORTH_RECORDING or 2 * count < shape[0]:
                return None
        if shape not in self._graphs:
            self._graphs[shape] = self._record(self._input[: math.prod(shape)].view(shape))
        return self._graphs[shape]

    def _record(self, batch: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor] | None:
        """Record the network on a view of this slot's input as one graph; None where that fails."""
        engine = self._engine
        # torch's default stream for recording is that of the first device used, so take one of this device.
        stream = torch.cuda.Stream(engine._device)
        stream.wait_stream(torch.cuda.current_stream(engine._device))
        with torch.cuda.stream(stream), _cudnn_benchmark():
            for _ in range(3):  # libraries choose algorithms and allocate memory before the recording
                engine.forward(batch)
        torch.cuda.current_stream(engine._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # With "thread_local", what other threads do on the device does not break the recording.
            with torch.cuda.graph(graph, pool=engine.pool, stream=stream, capture_error_mode="thread_local"):
                output = engine.forward(batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            torch.cuda.synchronize(engine._device)
            return None
        return graph, output

    def start(self, parts: Sequence[np.ndarray], count: int) -> Ticket:
        """Queue on the device: copy, compute, copy back; this thread goes on."""
        if self._pending_rows is not None:  # the last rows of this slot are not fetched yet
            self._pending_rows()
        engine = self._engine
        own = parts[0].shape[1:]
        shape = engine.full_batch(own)
        graph = self._find_graph(shape, count)
        if engine._varies and graph is None:
            shape = (count, *own)
        size = count * math.prod(shape[1:])
        inputs, at = self._inputs[:size].view(count, *shape[1:]).numpy(), 0
        if shape[1:] != own:
            inputs[:, own[0] :] = engine.backbone.preparation.padding
        for part in parts:
            (inputs if shape[1:] == own else inputs[:, : own[0]])[at : at + len(part)] = part
            at += len(part)
        current = torch.cuda.current_stream(engine._device)
        with torch.cuda.stream(engine._copies):
            engine._copies.wait_event(self._done)  # the network has read the last batch
            self._input[:size].copy_(self._inputs[:size], non_blocking=True)
            self._copied.record(engine._copies)
        current.wait_event(self._copied)
        if graph is not None:
            graph[0].replay()
            output = graph[1]
        else:
            output = engine.forward(self._input[: math.prod(shape)].view(shape))
        self._rows[:count].copy_(output[:count], non_blocking=True)
        self._done.record(current)

        self._pending_rows = _PendingRows(self._rows[:count], self._done)
        return self._pending_rows


class _PendingRows:
    """Ticket for the rows that the device will put into a slot."""

    def __init__(self, rows: torch.Tensor, done: torch.cuda.Event) -> None:
        self._pending, self._done = rows, done
        self._rows: np.ndarray | None = None

    def __call__(self) -> np.ndarray:
        if self._rows is None:
            self._done.synchronize()
            self._rows = self._pending.numpy().copy()
        return self._rows


@contextlib.contextmanager
def _cudnn_benchmark() -> Iterator[None]:
    """Let cuDNN time its algorithms for the shape at hand, whatever the process is set to."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
