"""The contract of engines, which every engine keeps."""

import copy
import shutil
import threading

import numpy as np
import pytest
import torch
from torch import nn

from featx.backbones import load_backbone
from featx.engines import EagerEngine, TorchEngine, make_engine
from featx.engines.allocation import Allocation
from featx.engines.parity import distances
from featx.engines.torch import full_fp32
from featx.errors import InputError, UnknownName
from featx.inputs.image import Preprocessing
from featx.options.table import ENGINES

SIZE = 48
COMPILER = shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mobilenet_v2", weights=None, image_size=SIZE)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (10, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[name for name in ENGINES if name != "auto"])
def engine(request, backbone):
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
    if request.param == "compile" and not COMPILER:
        pytest.skip("no C++ compiler")
    return make_engine(backbone, engine=request.param, device="cpu", precision="fp32", batch_size=4)


def reference(backbone, pixels):
    """One image at a time, channels first, not folded, normalised as torchvision does."""
    mean = torch.tensor(backbone.preprocessing.mean).reshape(1, 3, 1, 1)
    std = torch.tensor(backbone.preprocessing.std).reshape(1, 3, 1, 1)
    rows = []
    with torch.no_grad():
        for image in pixels:
            x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255
            rows.append(backbone.module((x - mean) / std)[0].numpy())
    return np.stack(rows)


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def test_rows_are_those_of_the_plain_network(engine, backbone, pixels):
    rows = engine(pixels)
    assert rows.dtype == np.float32
    assert rows.shape == (10, backbone.dim)
    assert distance(rows, reference(backbone, pixels)) < 1e-4


def test_rows_do_not_depend_on_the_batch_or_its_order(engine, pixels):
    whole = engine(pixels)
    assert distance(np.concatenate([engine(pixels[i : i + 1]) for i in range(10)]), whole) < 1e-4
    assert distance(np.concatenate([engine(pixels[:7]), engine(pixels[7:])]), whole) < 1e-4
    assert distance(engine(pixels[::-1])[::-1], whole) < 1e-4


def test_the_same_pixels_give_the_same_bits(engine, pixels):
    assert np.array_equal(engine(pixels), engine(pixels))


def test_an_engine_says_how_it_runs(engine):
    assert (engine.name in ENGINES, engine.device, engine.precision) == (True, "cpu", "fp32")


def test_an_empty_batch_gives_no_rows(engine, backbone, pixels):
    assert engine(pixels[:0]).shape == (0, backbone.dim)


def test_pixels_may_be_read_only_or_strided_and_are_not_changed(engine, pixels):
    frozen = pixels.copy()
    frozen.flags.writeable = False
    assert np.array_equal(engine(frozen), engine(pixels))
    assert np.array_equal(engine(pixels[:, :, ::-1][:, :, ::-1]), engine(pixels))
    assert np.array_equal(frozen, pixels)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((2, SIZE, SIZE, 3), np.float32),
        np.zeros((2, 3, SIZE, SIZE), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((2, SIZE, SIZE + 1, 3), np.uint8),
        [[1, 2]],
    ],
)
def test_another_batch_is_refused(engine, batch):
    expected = rf"mobilenet_v2: expected a batch of prepared inputs uint8 \(b, {SIZE}, {SIZE}, 3\), got"
    with pytest.raises(InputError, match=expected):
        engine(batch)


def test_a_run_changes_no_parameter_and_no_buffer(pixels):
    """Parameters and buffers, BatchNorm's counters among them, are the same bytes after a run."""
    dropout = load_backbone("mobilenet_v3_small", weights=None, layer="classifier.2", image_size=SIZE)
    normed = load_backbone("shufflenet_v2_x0_5", weights=None, image_size=SIZE)
    assert any(isinstance(m, nn.Dropout) for m in dropout.module.modules())
    for network in (dropout, normed):
        height, width = network.preprocessing.size
        batch = np.resize(pixels, (2, height, width, 3))
        before = copy.deepcopy(network.module.state_dict())
        engine = make_engine(network, engine="torch", device="cpu", precision="fp32")
        own = copy.deepcopy(engine._module.state_dict())
        first, second = engine(batch), engine(batch)
        assert np.array_equal(first, second), "dropout is active"
        for left, right in ((before, network.module.state_dict()), (own, engine._module.state_dict())):
            assert left.keys() == right.keys()
            assert all(left[k].numpy().tobytes() == right[k].numpy().tobytes() for k in left)
        assert not any(m.training for m in network.module.modules())
        assert not any(p.requires_grad for p in engine._module.parameters())


def test_two_engines_of_one_backbone_do_not_share_values(backbone, pixels):
    whole = make_engine(backbone, engine="torch", device="cpu", precision="fp32")
    expected = whole(pixels)
    make_engine(backbone, engine="torch", device="cpu", precision="bf16")
    assert np.array_equal(whole(pixels), expected)
    assert all(p.dtype == torch.float32 for p in backbone.module.parameters())


def test_bfloat16_stays_close_and_is_returned_as_float32(backbone, pixels):
    whole, half = (make_engine(backbone, device="cpu", precision=p)(pixels) for p in ("fp32", "bf16"))
    assert half.dtype == np.float32
    cosine = (whole * half).sum(1) / np.linalg.norm(whole, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.99
    assert not np.array_equal(whole, half)


def test_threads_may_share_an_engine(engine, pixels):
    expected = engine(pixels)
    results = [None] * 4

    def work(i):
        results[i] = engine(pixels)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(distance(rows, expected) < 1e-4 for rows in results)


class SmallMemory(TorchEngine):
    """Pretends that only a few images fit into memory."""

    fits = 3
    runs = ()

    def _run(self, batch):
        self.runs = (*self.runs, len(batch))
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super()._run(batch)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(backbone, pixels):
    engine = SmallMemory(backbone)
    expected = TorchEngine(backbone)(pixels)
    assert distance(engine(pixels), expected) < 1e-4
    assert engine.runs == (10, 5, 2, 2, 2, 2, 2)
    engine.runs = ()
    engine(pixels)
    assert engine.runs == (2,) * 5, "the size that fits was forgotten"


def test_one_image_that_does_not_fit_is_an_error_of_one_line(backbone, pixels):
    engine = SmallMemory(backbone)
    engine.fits = 0
    with pytest.raises(InputError, match="mobilenet_v2: not even one image fits into the memory of cpu"):
        engine(pixels)


def test_full_precision_on_cuda_is_set_for_the_run_only():
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (convolutions.allow_tf32, products.allow_tf32, torch.get_float32_matmul_precision())
    with full_fp32():
        if hasattr(convolutions, "conv"):
            assert convolutions.conv.fp32_precision == products.fp32_precision == "ieee"
        else:
            assert not convolutions.allow_tf32
            assert not products.allow_tf32
    assert (convolutions.allow_tf32, products.allow_tf32, torch.get_float32_matmul_precision()) == before
    with pytest.raises(KeyError), full_fp32():
        raise KeyError("inside")
    assert (convolutions.allow_tf32, products.allow_tf32, torch.get_float32_matmul_precision()) == before


@pytest.mark.parametrize("kw", [{"engine": "tensorrt"}, {"device": "tpu"}, {"precision": "int4"}])
def test_unknown_choices_are_refused_before_anything_is_built(kw, monkeypatch):
    backbone = load_backbone("shufflenet_v2_x0_5", weights=None)
    built = []
    monkeypatch.setattr(TorchEngine, "__init__", lambda self, *args, **kwargs: built.append(self))
    with pytest.raises(UnknownName):
        make_engine(backbone, **kw)
    assert not built


def test_a_network_that_cannot_be_traced_gives_the_same_rows(pixels, monkeypatch):
    backbone = load_backbone("shufflenet_v2_x0_5", weights=None, image_size=SIZE)
    expected = make_engine(backbone, device="cpu")(pixels)
    monkeypatch.setattr("featx.backbones.layers.finding.trace", lambda network, rules: None)
    hooked = load_backbone("shufflenet_v2_x0_5", weights=None, image_size=SIZE)
    assert hooked.layer == "fc:input"
    assert distance(make_engine(hooked, device="cpu")(pixels), expected) < 1e-4
    assert isinstance(hooked.module.network.fc, nn.Identity)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 1 - 1e-6), ("bf16", 0.99), ("fp16", 0.999)])
def test_a_gpu_gives_the_rows_of_the_cpu(backbone, pixels, precision, cosine):
    cpu = make_engine(backbone, device="cpu", precision="fp32")(pixels)
    gpu = make_engine(backbone, device="cuda", precision=precision)(pixels)
    found = (cpu * gpu).sum(1) / np.linalg.norm(cpu, axis=1) / np.linalg.norm(gpu, axis=1)
    assert found.min() > cosine


def test_an_engine_of_one_batch_size_names_it_when_memory_runs_out(backbone, monkeypatch):
    class Fixed(TorchEngine):
        name, fixed_batch = "compile", True

        def _run(self, batch):
            raise MemoryError

    engine = Fixed(backbone, allocation=Allocation(1, 1, 64))
    height, width = backbone.preprocessing.size
    with pytest.raises(InputError, match=r"a batch of 64 images does not fit.*use a smaller batch_size"):
        engine(np.zeros((3, height, width, 3), np.uint8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_reference_on_a_gpu_is_in_full_fp32(backbone, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, *backbone.preprocessing.size, 3), dtype=np.uint8)
    error, _ = distances(EagerEngine(backbone, device="cuda")(pixels), EagerEngine(backbone)(pixels))
    assert error.max() < 2e-5


class Masked(nn.Module):
    """Has a buffer with five axes, as timm's Swin has for the masks of its windows."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("mask", torch.full((1, 2, 1, 1, 1), 0.5))

    def forward(self, x):
        return (self.conv(x)[:, None] * self.mask).mean((3, 4)).flatten(1)


def test_a_network_with_a_buffer_of_five_axes_runs_like_any_other(pixels):
    backbone = load_backbone(Masked(), preprocessing=Preprocessing(SIZE, (SIZE, SIZE)))
    engine = make_engine(backbone, engine="torch", device="cpu", precision="fp32", batch_size=4)
    np.testing.assert_allclose(engine(pixels), EagerEngine(backbone)(pixels), rtol=1e-4, atol=1e-6)
