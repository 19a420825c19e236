"""The CUDA engine, tested without a GPU: streams, events and graphs are stand-ins.

The network runs on the CPU, and everything around it (slots, order of copies, padding, running out of
memory) is the engine's own code.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from featx.backbones import load_backbone
from featx.engines import EagerEngine, cuda
from featx.engines.allocation import Allocation
from featx.engines.cuda import SLOTS, CudaEngine
from featx.engines.parity import distances
from featx.errors import InputError

SIZE = 32
LOG = []
ENTERED = []  # the device whose work is issued


@contextlib.contextmanager
def entered(device):
    ENTERED.append(device)
    yield
    ENTERED.pop()


class Stream:
    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass

    def wait_event(self, event):
        LOG.append(("wait", event))


class Event:
    def record(self, stream):
        LOG.append(("record", self))

    def synchronize(self):
        LOG.append(("synchronize", self))


class Graph:
    """Runs the recorded network again, on what its input holds now."""

    replays = 0

    def replay(self):
        assert ENTERED  # a graph goes to the current device, whichever one it was recorded on
        Graph.replays += 1
        with torch.inference_mode():
            self.output.copy_(self.forward(self.input))


@contextlib.contextmanager
def recording(graph, pool=None, stream=None, capture_error_mode="global"):
    assert isinstance(stream, Stream)  # torch's own is of whichever device came first
    assert ENTERED
    Recorder.now = graph
    yield
    Recorder.now = None


class Recorder(CudaEngine):
    now = None

    def forward(self, pixels):
        rows = super().forward(pixels)
        if Recorder.now is not None:
            Recorder.now.input, Recorder.now.output = pixels, rows
            Recorder.now.forward = super().forward
        return rows


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    main = Stream()
    for name, value in {
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": recording,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": entered,
        "current_stream": lambda device=None: main,
        "graph_pool_handle": lambda: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: LOG.append(("empty", None)),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(cuda, "pinned_memory", lambda shape, dtype: torch.empty(shape, dtype=dtype))
    LOG.clear()
    ENTERED.clear()
    Graph.replays = 0


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("shufflenet_v2_x0_5", weights=None, image_size=SIZE)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (23, SIZE, SIZE, 3), dtype=np.uint8)


def engine_of(backbone, batch=4, kind=Recorder):
    return kind(backbone, device="cpu", precision="fp32", allocation=Allocation(1, 1, batch))


def near(rows, backbone, pixels):
    return distances(rows, EagerEngine(backbone)(pixels))[0].max() < 1e-4


def test_batches_in_flight_come_back_in_order_whatever_their_size(backbone, pixels):
    engine = engine_of(backbone)
    parts = [[pixels[0:4]], [pixels[4:5], pixels[5:7]], [pixels[7:11]], [pixels[11:15]], [pixels[15:16]]]
    flying, rows = [], []
    for part in parts:
        flying.append(engine.submit(part))
        if len(flying) > 2:
            rows.append(flying.pop(0)())
    rows += [ticket() for ticket in flying]
    assert [len(r) for r in rows] == [4, 3, 4, 4, 1]
    assert near(np.concatenate(rows), backbone, pixels[:16])
    assert Graph.replays == 5


def test_more_batches_than_slots_lose_nothing(backbone, pixels):
    engine = engine_of(backbone)
    tickets = [engine.submit([pixels[i : i + 2]]) for i in range(0, 20, 2)]
    assert len(tickets) > SLOTS
    assert near(np.concatenate([ticket() for ticket in tickets]), backbone, pixels[:20])
    assert np.array_equal(tickets[0](), tickets[0]()), "a ticket can be used twice"


def test_pixels_are_copied_only_when_the_network_has_read_the_last_ones(backbone, pixels):
    engine = engine_of(backbone)
    for i in range(0, 16, 4):
        engine.submit([pixels[i : i + 4]])()
    for i in range(0, 16, 4):  # the slots are used again
        engine.submit([pixels[i : i + 4]])()
    slot = engine._slots[0]
    copied = LOG.index(("record", slot._copied), LOG.index(("record", slot._done)))
    assert ("wait", slot._done) in LOG[:copied]
    assert LOG[copied + 1] == ("wait", slot._copied), "the network starts before its pixels are there"


def test_a_network_that_cannot_be_recorded_runs_as_usual(backbone, pixels, monkeypatch):
    @contextlib.contextmanager
    def refuse(graph, **options):
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    engine = engine_of(backbone)
    rows = [engine.submit([pixels[i : i + 4]])() for i in range(0, 12, 4)]
    assert near(np.concatenate(rows), backbone, pixels[:12])
    assert Graph.replays == 0


class Small(Recorder):
    fits = 3

    def forward(self, pixels):
        if len(pixels) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(pixels)


def test_when_memory_runs_out_the_batch_is_halved_and_the_run_goes_on(backbone, pixels):
    engine = engine_of(backbone, batch=8, kind=Small)
    rows = [engine.submit([pixels[i : i + 8]])() for i in range(0, 23, 8)]
    assert near(np.concatenate(rows), backbone, pixels)
    assert ("empty", None) in LOG
    engine.fits = 0
    with pytest.raises(InputError, match="not even one image fits"):
        engine.submit([pixels[:2]])()


def test_other_errors_of_the_device_are_not_taken_for_lack_of_memory(backbone, pixels, monkeypatch):
    engine = engine_of(backbone)

    def broken(pixels):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(engine, "forward", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        engine.submit([pixels[:4]])


def test_a_call_gives_the_rows_too(backbone, pixels):
    assert near(engine_of(backbone)(pixels), backbone, pixels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_real_gpu_gives_the_rows_of_the_cpu(precision, monkeypatch):
    monkeypatch.undo()
    backbone = load_backbone("resnet18", weights=None, image_size=64)
    pixels = np.random.default_rng(0).integers(0, 256, (37, 64, 64, 3), dtype=np.uint8)
    engine = CudaEngine(backbone, device="cuda", precision=precision, allocation=Allocation(1, 1, 8))
    tickets = [engine.submit([pixels[i : i + 8]]) for i in range(0, 37, 8)]
    rows = np.concatenate([ticket() for ticket in tickets])
    error, cosine = distances(rows, EagerEngine(backbone)(pixels))
    assert error.max() < 1e-3 if precision == "fp32" else cosine.min() > 0.99
