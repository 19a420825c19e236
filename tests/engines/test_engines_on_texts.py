"""Engines on texts: batches of any length, counted in positions, give the rows of each text alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_cuda_engine import LOG, Graph, Recorder, Small, stand_ins
from torch import nn

from featx.backbones.text_input import TextInput
from featx.engines import EagerEngine, TorchEngine, build, cuda, measure_parity
from featx.engines.allocation import Allocation, allocate, bytes_per_input
from featx.engines.build import build_engine
from featx.engines.cuda import SLOTS, WORTH_RECORDING
from featx.engines.parity import distances
from featx.engines.resolver import Plan
from featx.errors import EngineError, InputError
from featx.inputs.text import PADDING, TextPreparation

LONGEST, WORDS = 200, 50


class Numbers:
    """Texts of numbers, which are their tokens."""

    sha256 = "1" * 64

    def encode(self, text, max_length):
        return [[len(word) % WORDS for word in text.split()][:max_length]]


class Attention(nn.Module):
    """One layer of attention in which padding is masked; the mean over tokens."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 8), nn.Embedding(LONGEST, 8)
        self.mix = nn.Linear(8, 24)

    def forward(self, tokens):
        mask = tokens >= 0
        x = self.words(tokens.clamp(min=0)) + self.places.weight[: tokens.shape[1]]
        q, k, v = self.mix(x).unsqueeze(1).chunk(3, dim=-1)
        x = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])[:, 0]
        weights = mask[:, :, None].to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1)


@pytest.fixture(scope="module")
def backbone():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Attention().eval().requires_grad_(False)
    preparation = TextPreparation(Numbers(), max_length=LONGEST)
    return SimpleNamespace(
        name="words",
        module=module,
        dim=8,
        preparation=preparation,
        inputs=TextInput(preparation),
        identity={"source": "hf"},
        is_transformer=True,
    )


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [rng.integers(0, WORDS, n, dtype=np.int32) for n in (1, 2, 7, 8, 9, 16, 33, 64, 70, 130, LONGEST)]


@pytest.fixture(scope="module")
def alone(backbone, texts):
    eager = EagerEngine(backbone)
    return np.concatenate([eager(text[None]) for text in texts])


def padded(backbone, texts, more=0):
    batch = backbone.preparation.collate(texts)
    return np.pad(batch, ((0, 0), (0, min(more, LONGEST - batch.shape[1]))), constant_values=PADDING)


def openvino():
    pytest.importorskip("openvino")
    from featx.engines.openvino import OpenVINOEngine

    return OpenVINOEngine


@pytest.mark.parametrize("positions", [None, 100, 10_000])
@pytest.mark.parametrize("kind", ["torch", "openvino"])
def test_rows_are_those_of_each_text_alone(backbone, texts, alone, kind, positions):
    make = TorchEngine if kind == "torch" else openvino()
    engine = make(backbone, allocation=Allocation(1, 1, 4, positions))
    for some in (slice(None), slice(3, 5), slice(None, None, -1), slice(0, 1)):
        rows = engine(padded(backbone, texts[some], more=5))
        np.testing.assert_allclose(rows, alone[some], atol=1e-6)
    assert measure_parity(engine, backbone, padded(backbone, texts)).passed


def test_int8_is_calibrated_on_texts_of_their_own_lengths(backbone, texts, alone, monkeypatch):
    pytest.importorskip("nncf")
    make = openvino()
    from featx.engines import int8

    taken = []
    nncf = int8.import_nncf()

    class Noted(nncf.Dataset):
        def __init__(self, inputs):
            taken.append(inputs)
            super().__init__(inputs)

    monkeypatch.setattr(nncf, "Dataset", Noted)
    calibration = int8.calibrate(backbone, padded(backbone, texts))
    assert [one.shape for one in taken[0]] == [(1, len(text)) for text in texts]
    engine = make(backbone, precision="int8", calibration=calibration, allocation=Allocation(1, 1, 4, 256))
    assert distances(engine(padded(backbone, texts)), alone)[1].mean() > 0.99


def test_an_automatic_batch_is_counted_in_positions_and_a_given_one_in_texts(backbone):
    plan = Plan("torch", "cpu", "fp32")
    automatic = build_engine(backbone, plan, threads=1)
    assert automatic.batch_positions == automatic.batch_size * 64
    assert automatic.inputs_of_length(16) == 4 * automatic.inputs_of_length(64)
    assert automatic.inputs_of_length(10**6) == 1
    given = build_engine(backbone, plan, threads=1, batch_size=5)
    assert given.batch_positions is None
    assert given.inputs_of_length(1) == given.inputs_of_length(LONGEST) == 5


def test_memory_is_that_of_the_longest_texts(backbone, monkeypatch):
    needed = bytes_per_input(backbone)
    assert needed >= 3 * 4 * LONGEST**2, "scores of attention"
    plan = Plan("torch", "cpu", "fp32")
    for share, workers in ((0.5, 1), (1, 1), (2, 2), (100, 2)):
        monkeypatch.setattr(build, "_budget", lambda device, share=share: int(share * needed))
        engine = build_engine(backbone, plan, threads=2)
        assert engine.workers == workers
        # No more positions than memory has room for, beside those of one longest text.
        assert engine.batch_positions <= max(64, 2 * share * LONGEST)
    assert allocate(
        cores=4, images=2, preferred=16, largest=64, bytes_per_input=1, budget=80, smallest=8
    ) == Allocation(2, 2, 1)


def test_the_compiler_is_refused_for_texts(backbone):
    with pytest.raises(EngineError, match="compiles for one shape, and the lengths of texts vary"):
        build_engine(backbone, Plan("compile", "cpu", "fp32"))


class Little(TorchEngine):
    """Has room for 40 positions."""

    def _run(self, batch):
        if batch.size > 40:
            raise MemoryError
        return super()._run(batch)


def test_when_memory_runs_out_batches_are_halved_by_their_positions(backbone, texts, alone):
    engine = Little(backbone, allocation=Allocation(1, 1, 4))
    np.testing.assert_allclose(engine(padded(backbone, texts[:7])), alone[:7], atol=1e-6)
    assert engine._largest == 33
    seen = []
    run = engine._run
    engine._run = lambda batch: seen.append(batch.shape) or run(batch)
    np.testing.assert_allclose(engine(padded(backbone, texts[:3])), alone[:3], atol=1e-6)
    assert seen == [(3, 7)], "short texts are not divided because long ones did not fit"
    with pytest.raises(InputError, match=r"not even one text fits .* use a smaller max_length"):
        engine(padded(backbone, texts[7:8]))


def cuda_engine(backbone, kind=Recorder, **allocation):
    taken = Allocation(1, 1, **({"batch_size": 4, "positions": 400} | allocation))
    return kind(backbone, device="cpu", precision="fp32", allocation=taken)


@pytest.mark.usefixtures(stand_ins.__name__)
@pytest.mark.parametrize("positions", [None, 400])
def test_a_gpu_takes_batches_of_every_length(backbone, texts, alone, positions):
    engine = cuda_engine(backbone, positions=positions, batch_size=len(texts))
    order = [*range(len(texts))] * 3
    tickets = [engine.submit([texts[i][None]]) for i in order]
    assert len(tickets) > SLOTS
    rows = np.concatenate([ticket() for ticket in tickets])
    np.testing.assert_allclose(rows, alone[order], atol=1e-6)
    several = engine.submit([padded(backbone, texts[:2], more=5), padded(backbone, texts[1:3])])()
    np.testing.assert_allclose(several, alone[[0, 1, 1, 2]], atol=1e-6)


@pytest.mark.usefixtures(stand_ins.__name__)
def test_a_gpu_records_graphs_for_lengths_that_come_often(backbone, texts, alone):
    engine = cuda_engine(backbone)
    rounds = SLOTS * (WORTH_RECORDING + 2)
    for i in range(rounds):
        ours = [4, 5] * 9 if i % 2 else [5, 4] * 12
        rows = engine.submit([padded(backbone, [texts[j] for j in ours])])()
        np.testing.assert_allclose(rows, alone[ours], atol=1e-6)
    recorded = {shape for slot in engine._slots for shape in slot._graphs}
    assert recorded == {(25, 16)}
    assert Graph.replays == SLOTS * 3
    engine.submit([padded(backbone, texts[4:6])])()
    assert Graph.replays == SLOTS * 3, "a few texts take less time without the graph"


@pytest.mark.usefixtures(stand_ins.__name__)
def test_a_gpu_without_room_divides_the_batch(backbone, texts, alone):
    class Narrow(Small):
        fits = 3

    engine = cuda_engine(backbone, Narrow)
    rows = engine.submit([padded(backbone, texts[:7])])()
    np.testing.assert_allclose(rows, alone[:7], atol=1e-6)
    assert ("empty", None) in LOG


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, 8), (8, 8), (9, 16), (64, 64), (65, 80), (129, 160), (190, 192), (193, LONGEST), (LONGEST, LONGEST)],
)
@pytest.mark.usefixtures(stand_ins.__name__)
def test_graphs_are_for_a_few_lengths(backbone, length, expected):
    assert cuda_engine(backbone).padded_length(length) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_real_gpu_gives_the_rows_of_each_text_alone(backbone, texts, alone, precision):
    engine = cuda.CudaEngine(
        backbone, device="cuda", precision=precision, allocation=Allocation(1, 1, 4, 4000)
    )
    for _ in range(SLOTS * (WORTH_RECORDING + 2)):
        tickets = [engine.submit([padded(backbone, texts[:n] * 9)]) for n in (3, 7, len(texts))]
        for ticket, n in zip(tickets, (3, 7, len(texts)), strict=True):
            error, cosine = distances(ticket(), np.concatenate([alone[:n]] * 9))
            assert error.max() < 1e-3 if precision == "fp32" else cosine.min() > 0.99
    assert any(graph for slot in engine._slots for graph in slot._graphs.values())
