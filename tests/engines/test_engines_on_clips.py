"""Engines on clips: samples or filter banks of any length, masked or not, give the rows of each alone."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_cuda_engine import Graph, Recorder, stand_ins
from torch import nn

from featx.backbones.audio_input import AudioInput, is_value, without_padding
from featx.engines import EagerEngine, TorchEngine, build, cuda, measure_parity
from featx.engines.allocation import Allocation, bytes_per_input
from featx.engines.build import build_engine
from featx.engines.cuda import SLOTS, WORTH_RECORDING
from featx.engines.parity import distances
from featx.engines.resolver import Plan
from featx.errors import EngineError, InputError
from featx.inputs.audio import PADDING, AudioPreparation
from featx.inputs.audio.front_ends import StatedFrontEnd, Waveform

BANDS = 6


class Frames(StatedFrontEnd):
    """Samples, `BANDS` of them at each position."""

    rate, bands, shortest, identity = 600, BANDS, BANDS, {"name": "frames"}

    def positions(self, samples):
        return max(samples, BANDS) // BANDS

    def compute(self, samples, length=None):
        samples = np.pad(samples, (0, max(0, max(BANDS, length or 0) - len(samples))))
        return samples[: len(samples) // BANDS * BANDS].reshape(-1, BANDS)


class Sounds(nn.Module):
    """A convolution over values alone, and attention in which padding is masked; the mean over positions."""

    def __init__(self, bands, masks=True):
        super().__init__()
        self.listen, self.mix, self.masks = nn.Conv1d(bands or 1, 16, 3, padding=1), nn.Linear(16, 48), masks

    def forward(self, x):
        mask = is_value(x) if self.masks else torch.ones_like(x if x.dim() == 2 else x[:, :, 0]) > 0
        x = without_padding(x) if self.masks else x
        x = x.unsqueeze(1) if x.dim() == 2 else x.transpose(1, 2)
        x = self.listen(x).transpose(1, 2)
        q, k, v = self.mix(x).unsqueeze(1).chunk(3, dim=-1)
        x = x + nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])[:, 0]
        weights = mask[:, :, None].to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1)


def backbone_of(kind, **how):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Sounds(BANDS if kind == "frames" else None, how.get("masks", True))
    front = Frames() if kind == "frames" else Waveform(rate=100, shortest=4)
    preparation = AudioPreparation(front, window=2.0, **how)
    return SimpleNamespace(
        name="sounds",
        module=module.eval().requires_grad_(False),
        dim=16,
        preparation=preparation,
        inputs=AudioInput(preparation),
        identity={"source": "hf"},
        is_transformer=True,
    )


@pytest.fixture(scope="module", params=["samples", "frames"])
def backbone(request):
    return backbone_of(request.param)


LONGEST = 200  # positions of a window of 2 s
LENGTHS = (4, 5, 9, 16, 33, 64, 64, 70, 130, 199, LONGEST)


def windows_of(backbone):
    rng = np.random.default_rng(0)
    bands = backbone.preparation.front_end.bands
    shapes = [(n,) if bands is None else (n, bands) for n in LENGTHS]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.fixture(scope="module")
def windows(backbone):
    return windows_of(backbone)


@pytest.fixture(scope="module")
def alone(backbone, windows):
    return rows_alone(backbone, windows)


def rows_alone(backbone, windows):
    return np.concatenate([EagerEngine(backbone)(window[None]) for window in windows])


def padded(backbone, windows, more=0):
    batch = backbone.preparation.collate(windows)
    behind = min(more, LONGEST - batch.shape[1])
    widths = ((0, 0), (0, behind), (0, 0))[: batch.ndim]
    return np.pad(batch, widths, constant_values=PADDING)


def openvino():
    pytest.importorskip("openvino")
    from featx.engines.openvino import OpenVINOEngine

    return OpenVINOEngine


ENGINES = [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16")]


@pytest.mark.parametrize("positions", [None, 100, 10_000])
@pytest.mark.parametrize(("kind", "precision"), ENGINES)
def test_rows_are_those_of_each_window_alone(backbone, windows, alone, kind, precision, positions):
    make = TorchEngine if kind == "torch" else openvino()
    engine = make(backbone, precision=precision, allocation=Allocation(1, 1, 4, positions))
    own = alone
    if precision == "bf16":
        own = np.concatenate([engine(window[None]) for window in windows])
        assert distances(own, alone)[1].min() > 0.995
    for some in (slice(None), slice(3, 5), slice(None, None, -1), slice(0, 1)):
        rows = engine(padded(backbone, windows[some], more=5))
        if precision == "fp32":
            np.testing.assert_allclose(rows, own[some], atol=2e-6)
        else:  # kernels round in another order at another length, but no padding counts
            assert distances(rows, own[some])[1].min() > 0.9998
    assert measure_parity(engine, backbone, padded(backbone, windows)).passed
    assert measure_parity(engine, backbone, backbone.preparation.reference_batch(8)).passed


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["samples", "frames"])
@pytest.mark.parametrize("make", [TorchEngine, None])
def test_a_network_without_a_mask_is_compared_on_windows_of_one_length(kind, make, precision):
    backbone = backbone_of(kind, masks=False)
    windows = windows_of(backbone)
    engine = (make or openvino())(backbone, precision=precision, allocation=Allocation(1, 1, 4, 256))
    seen = []
    submit = engine.submit
    engine.submit = lambda parts: seen.extend(parts) or submit(parts)
    assert measure_parity(engine, backbone, padded(backbone, windows)).passed
    assert not any((part < PADDING / 10).any() for part in seen)
    assert sorted(part.shape[:2] for part in seen if len(part) > 1) == [(2, 64)]


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("kind", ["samples", "frames"])
def test_int8_is_calibrated_on_windows_of_their_own_lengths(kind, masks, monkeypatch):
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
    backbone = backbone_of(kind, masks=masks)
    windows = windows_of(backbone)
    calibration = int8.calibrate(backbone, padded(backbone, windows))
    assert [one.shape[1] for one in taken[0]] == list(LENGTHS)
    assert all((one > PADDING / 10).all() for one in taken[0])
    engine = make(backbone, precision="int8", calibration=calibration, allocation=Allocation(1, 1, 4, 256))
    own = np.concatenate([engine(window[None]) for window in windows])
    assert distances(own, rows_alone(backbone, windows))[1].mean() > 0.99
    if masks:  # the scales do not reach the padding before it is masked
        np.testing.assert_allclose(engine(padded(backbone, windows, more=5)), own, atol=1e-5)
    assert measure_parity(engine, backbone, padded(backbone, windows)).precision == "int8"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_padding_is_told_from_values_in_every_precision(dtype):
    samples = np.array([[0.5, -32768, 32767, 0, PADDING, PADDING]], np.float32)
    batch = torch.from_numpy(samples)
    to_network = backbone_of("samples").inputs.to_network(torch.device("cpu"), dtype)
    assert is_value(to_network(batch)).tolist() == [[True] * 4 + [False] * 2]
    zeros = without_padding(to_network(batch))
    assert zeros.dtype is dtype
    assert zeros[0, 4:].tolist() == [0, 0]
    assert zeros[0, 0] == 0.5


def test_an_automatic_batch_is_counted_in_positions_and_a_given_one_in_clips(backbone):
    plan = Plan("torch", "cpu", "fp32")
    automatic = build_engine(backbone, plan, threads=1)
    assert automatic.batch_positions == automatic.batch_size * backbone.inputs.length
    assert automatic.inputs_of_length(50) == 2 * automatic.inputs_of_length(100)
    assert automatic.inputs_of_length(10**8) == 1
    given = build_engine(backbone, plan, threads=1, batch_size=5)
    assert given.batch_positions is None
    assert given.inputs_of_length(4) == given.inputs_of_length(LONGEST) == 5


def test_memory_is_that_of_the_longest_windows(backbone, monkeypatch):
    needed = bytes_per_input(backbone)
    assert needed >= 3 * 4 * LONGEST**2, "scores of attention"
    for share, workers in ((0.5, 1), (1, 1), (2, 2), (100, 2)):
        monkeypatch.setattr(build, "_budget", lambda device, share=share: int(share * needed))
        engine = build_engine(backbone, Plan("torch", "cpu", "fp32"), threads=2)
        assert engine.workers == workers
        assert engine.batch_positions <= max(backbone.inputs.length, 2 * share * LONGEST)


def test_the_compiler_is_refused_where_lengths_vary():
    plan = Plan("compile", "cpu", "fp32")
    with pytest.raises(EngineError, match="compiles for one shape, and the lengths of clips vary"):
        build_engine(backbone_of("samples"), plan)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in ("torch", "openvino") for kind in ("samples", "frames")]
    + [("compile", "frames")],
)
def test_windows_of_one_length_go_in_batches_of_one_size(name, kind, thorough):
    if name == "openvino":
        openvino()
    if name == "compile" and not thorough:
        pytest.skip("compiling takes 16 s, and is tested for images: --thorough")
    if name == "compile" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler")
    backbone = backbone_of(kind, pad=True)
    rng = np.random.default_rng(0)
    front = backbone.preparation.front_end
    batch = np.concatenate(
        [backbone.preparation.transform(rng.standard_normal(n).astype(np.float32)) for n in (40, 300, 900)]
    )
    assert batch.shape[1:] == backbone.preparation.shape
    assert batch.shape[1] == front.positions(2 * front.rate)
    engine = build_engine(backbone, Plan(name, "cpu", "fp32"), threads=1, batch_size=2)
    assert engine.batch_positions is None
    np.testing.assert_allclose(engine(batch), rows_alone(backbone, batch), atol=2e-6)
    assert measure_parity(engine, backbone, backbone.preparation.reference_batch(4)).passed


def test_no_room_for_one_clip_names_what_makes_clips_shorter(backbone, windows):
    class Little(TorchEngine):
        def _run(self, batch):
            raise MemoryError

    with pytest.raises(InputError, match=r"not even one clip fits .* use a smaller window"):
        Little(backbone)(windows[0][None])


def cuda_engine(backbone, kind=Recorder, **allocation):
    taken = Allocation(1, 1, **({"batch_size": 4, "positions": 400} | allocation))
    return kind(backbone, device="cpu", precision="fp32", allocation=taken)


@pytest.mark.usefixtures(stand_ins.__name__)
@pytest.mark.parametrize("positions", [None, 400])
def test_a_gpu_takes_batches_of_every_length(backbone, windows, alone, positions):
    engine = cuda_engine(backbone, positions=positions, batch_size=len(windows))
    order = [*range(len(windows))] * 3
    tickets = [engine.submit([windows[i][None]]) for i in order]
    assert len(tickets) > SLOTS
    rows = np.concatenate([ticket() for ticket in tickets])
    np.testing.assert_allclose(rows, alone[order], atol=2e-6)
    several = engine.submit([padded(backbone, windows[:2], more=4), padded(backbone, windows[1:3])])
    np.testing.assert_allclose(several(), alone[[0, 1, 1, 2]], atol=2e-6)


@pytest.mark.usefixtures(stand_ins.__name__)
def test_a_gpu_records_graphs_for_lengths_that_come_often(backbone, windows, alone):
    engine = cuda_engine(backbone)
    for i in range(SLOTS * (WORTH_RECORDING + 2)):
        ours = [2, 3] * 9 if i % 2 else [3, 2] * 12
        rows = engine.submit([padded(backbone, [windows[j] for j in ours])])()
        np.testing.assert_allclose(rows, alone[ours], atol=2e-6)
    recorded = {shape for slot in engine._slots for shape in slot._graphs}
    assert {shape[:2] for shape in recorded} == {(25, 16)}
    assert Graph.replays == SLOTS * 3


@pytest.mark.usefixtures(stand_ins.__name__)
@pytest.mark.parametrize("kind", ["samples", "frames"])
def test_a_gpu_pads_nothing_for_a_network_without_a_mask(kind):
    backbone = backbone_of(kind, masks=False)
    windows = windows_of(backbone)
    engine = cuda_engine(backbone)
    for _ in range(SLOTS * (WORTH_RECORDING + 1)):
        rows = engine.submit([np.stack([windows[4]] * 9)])()
        np.testing.assert_allclose(rows, rows_alone(backbone, [windows[4]] * 9), atol=2e-6)
    assert {shape[:2] for slot in engine._slots for shape in slot._graphs} == {(12, LENGTHS[4])}


@pytest.mark.usefixtures(stand_ins.__name__)
@pytest.mark.parametrize("kind", ["samples", "frames"])
def test_a_gpu_takes_windows_of_one_length(kind):
    backbone = backbone_of(kind, pad=True)
    batch = backbone.preparation.reference_batch(4)
    engine = cuda_engine(backbone, positions=None)
    assert engine.inputs_of_length(LONGEST) == 4
    for _ in range(SLOTS + 1):
        np.testing.assert_allclose(engine.submit([batch])(), rows_alone(backbone, batch), atol=2e-6)


@pytest.mark.usefixtures(stand_ins.__name__)
def test_a_gpu_has_room_for_the_rows_of_the_shortest_windows(backbone):
    engine = cuda_engine(backbone)
    assert engine.most_rows == 400 // engine.padded_length(backbone.inputs.shortest)
    assert [engine.padded_length(n) for n in (130, 190, 193, LONGEST)] == [160, 192, LONGEST, LONGEST]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_real_gpu_gives_the_rows_of_each_window_alone(backbone, windows, alone, precision):
    engine = cuda.CudaEngine(
        backbone, device="cuda", precision=precision, allocation=Allocation(1, 1, 4, 4000)
    )
    for _ in range(SLOTS * (WORTH_RECORDING + 2)):
        tickets = [engine.submit([padded(backbone, windows[:n] * 9)]) for n in (3, 7, len(windows))]
        for ticket, n in zip(tickets, (3, 7, len(windows)), strict=True):
            error, cosine = distances(ticket(), np.concatenate([alone[:n]] * 9))
            assert error.max() < 1e-3 if precision == "fp32" else cosine.min() > 0.99
    assert any(graph for slot in engine._slots for graph in slot._graphs.values())
