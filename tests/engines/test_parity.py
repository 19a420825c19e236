"""The parity check: which rows are near enough to those of the plain network."""

import numpy as np
import pytest
import torch

from featx.backbones import load_backbone
from featx.engines import TorchEngine, measure_parity
from featx.engines.interface import CpuEngine
from featx.engines.parity import distances
from featx.errors import EngineError, InputError


class Other(CpuEngine):
    """Gives the rows of the reference, changed."""

    name, device, version, workers, batch_size = "other", "cpu", "1", 1, 8

    def __init__(self, backbone, precision, change):
        self.precision, self._change = precision, change
        self._real = TorchEngine(backbone)

    def __call__(self, batch):
        return self._change(self._real(batch)).astype(np.float32)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("shufflenet_v2_x0_5", weights=None, image_size=32)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def turned(cosine, rows=slice(None)):
    """Turn rows to this cosine with what they were."""

    def change(x):
        rng = np.random.default_rng(1)
        out = x.astype(np.float64)
        for i in range(len(x))[rows]:
            noise = rng.standard_normal(x.shape[1])
            noise -= noise @ out[i] / (out[i] @ out[i]) * out[i]
            noise *= np.linalg.norm(out[i]) / np.linalg.norm(noise)
            out[i] = cosine * out[i] + np.sqrt(1 - cosine**2) * noise
        return out

    return change


@pytest.mark.parametrize(
    ("precision", "change", "passes"),
    [
        ("fp32", lambda x: x, True),
        ("fp32", lambda x: x * 1.0009, True),
        ("fp32", lambda x: x * 1.0011, False),
        ("bf16", lambda x: x * 3, True),  # a cosine knows no length
        ("bf16", turned(0.9991), True),
        ("bf16", turned(0.9989), False),
        ("bf16", turned(0.993, slice(0, 1)), True),
        ("fp16", turned(0.9889, slice(0, 1)), False),
        ("int8", turned(0.991), True),
        ("int8", turned(0.989), False),
        ("int8", turned(0.94, slice(0, 1)), False),
        ("bf16", lambda x: np.where(np.arange(len(x))[:, None] == 3, np.nan, x), False),
        ("fp16", lambda x: np.full_like(x, np.inf), False),
    ],
)
def test_each_precision_has_its_limits(backbone, pixels, precision, change, passes):
    result = measure_parity(Other(backbone, precision, change), backbone, pixels)
    assert result.passed is passes
    assert result.images == 8
    assert result.to_dict()["passed"] is passes
    assert "\n" not in str(result)


def test_rows_that_overflow_in_the_plain_network_are_not_counted(pixels):
    broken = load_backbone("shufflenet_v2_x0_5", weights=None, image_size=32)
    with torch.no_grad():
        next(broken.module.parameters()).fill_(float("nan"))
    result = measure_parity(Other(broken, "fp32", lambda x: x), broken, pixels)
    assert (result.passed, result.images) == (True, 0)


def test_distances_by_hand():
    reference = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    rows = np.array([[3.0, 4.5], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], np.float32)
    error, cosine = distances(rows, reference)
    assert error[:3] == pytest.approx([0.1, np.sqrt(2), 0.0])
    assert cosine[:3] == pytest.approx([27 / (5 * np.hypot(3, 4.5)), 0.0, 1.0])
    assert (error[3], cosine[3]) == (np.inf, -1.0)


def test_rows_are_compared_as_an_extraction_computes_them(backbone, pixels):
    """On a device, `submit` works differently from a plain call."""
    submitted = []

    class Device(Other):
        def submit(self, parts):
            submitted.append([len(part) for part in parts])
            return super().submit(parts)

    result = measure_parity(
        Device(backbone, "fp32", lambda x: x), backbone, np.concatenate([pixels, pixels[:3]])
    )
    assert result.images == 11
    assert submitted == [[8], [3]]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (ValueError("no kernel\n  at 0x1"), EngineError, r"other fails here \(no kernel\)"),
        (InputError("use less"), InputError, "use less"),
    ],
)
def test_errors_of_an_engine_become_errors_of_featx(backbone, pixels, error, expected, message):
    def fail(rows):
        raise error

    with pytest.raises(expected, match=message):
        measure_parity(Other(backbone, "fp32", fail), backbone, pixels)
