"""Short-time Fourier transforms by OpenVINO: those that it computes slowly are convolutions."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("openvino", reason="the extra openvino is not installed")

from featx.backbones import load_backbone
from featx.engines import make_engine
from featx.engines.allocation import Allocation
from featx.engines.fourier import needs_fp32
from featx.engines.openvino import OpenVINOEngine, to_openvino


class Spectrum(nn.Module):
    """The loudness of each frequency, of frames that the window fills or not."""

    def __init__(self, size: int, step: int, length: int) -> None:
        super().__init__()
        self.size, self.step, self.length = size, step, length
        self.register_buffer("window", torch.hann_window(length) + 0.1)
        self.last = nn.Linear(size // 2 + 1, 8)

    def forward(self, samples):
        found = torch.stft(
            samples,
            self.size,
            self.step,
            win_length=self.length,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return self.last((found.abs() + 1e-4).log().mean(2))


def backbone_of(module, **clips):
    torch.manual_seed(0)
    preprocessing = {"kind": "clip", "rate": 8000, **clips}
    return load_backbone(module, preprocessing=preprocessing, window=0.5, layer="embedding", name="spectrum")


def kinds_of(backbone):
    return {op.get_type_name() for op in to_openvino(backbone).get_ordered_ops()}


@pytest.mark.parametrize(("size", "length"), [(200, 200), (200, 150), (201, 201)])
@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_are_those_of_torch(size, length, pad, precision):
    backbone = backbone_of(Spectrum(size, 80, length), pad=pad)
    rng = np.random.default_rng(0)
    # A loud tone beside quiet noise needs more than the eight bits of bf16.
    samples = np.sin(np.arange(4000) * 0.7) + 1e-3 * rng.standard_normal((5, 4000))
    batch = samples.astype(np.float32)
    rows = OpenVINOEngine(backbone, precision=precision, allocation=Allocation(1, 1, 3))(batch)
    expected = make_engine(backbone, engine="eager", device="cpu")(batch)
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-3)
    assert "STFT" not in kinds_of(backbone)
    assert needs_fp32(to_openvino(backbone))


def test_transforms_that_openvino_computes_fast_stay():
    backbone = backbone_of(Spectrum(256, 80, 256), pad=True)
    assert "STFT" in kinds_of(backbone)
    assert not needs_fp32(to_openvino(backbone))
