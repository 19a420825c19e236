"""What only OpenVINO has: reduced precision, calibration, and telemetry, which is kept off."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from own_modules import SMALL, Branching, Encoder, seeded

pytest.importorskip("openvino", reason="the extra openvino is not installed")

from featx.backbones import combine_layers, load_backbone, load_layers
from featx.engines import make_engine
from featx.engines.allocation import Allocation
from featx.engines.openvino import OpenVINOEngine, read_model, serialise_model, to_openvino
from featx.engines.parity import distances
from featx.engines.resolver import installed
from featx.errors import EngineError
from featx.inputs.image import Preprocessing
from featx.vision import import_torchvision

SIZE = 64


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("squeezenet1_1", weights=None, image_size=SIZE)


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)


@pytest.fixture(scope="module")
def reference(backbone, pixels):
    return make_engine(backbone, engine="eager", device="cpu")(pixels)


def test_bfloat16_is_near(backbone, pixels, reference):
    rows = OpenVINOEngine(backbone, precision="bf16", allocation=Allocation(1, 1, 5))(pixels)
    assert distances(rows, reference)[1].min() > 0.99


def test_several_layers_of_one_network_are_converted_together(pixels):
    both = combine_layers(load_layers(seeded(Encoder), ["conv", None], preprocessing=SMALL))
    small = pixels[:, :32, :32]
    rows = OpenVINOEngine(both, precision="fp32")(small)
    assert distances(rows, make_engine(both, engine="eager", device="cpu")(small))[0].max() < 1e-3


def test_int8_is_near_and_a_calibration_can_be_stored(backbone, pixels, reference):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    from featx.engines.int8 import calibrate

    calibration = calibrate(backbone, pixels)
    first = OpenVINOEngine(
        backbone, precision="int8", calibration=calibration, allocation=Allocation(1, 1, 4)
    )(pixels)
    again = OpenVINOEngine(backbone, precision="int8", calibration=bytes(calibration))(pixels)
    error, cosine = distances(first, reference)
    assert cosine.min() > 0.98
    assert error.max() > 1e-3, "these are the rows of the network in full precision"
    assert distances(again, first)[0].max() < 0.02


def test_int8_keeps_a_transformer_in_which_a_few_channels_are_far_larger_than_others(pixels):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    from featx.engines.int8 import calibrate

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = import_torchvision().models.VisionTransformer(SIZE, 16, 1, 2, 32, 64)
    factors = torch.ones(32)
    factors[:2] = 100.0
    with torch.no_grad():
        for layer in network.encoder.layers:  # computes the same, through large values
            for norm, weight in (
                (layer.ln_1, layer.self_attention.in_proj_weight),
                (layer.ln_2, layer.mlp[0].weight),
            ):
                norm.weight.mul_(factors)
                norm.bias.mul_(factors)
                weight.div_(factors)
    backbone = load_backbone(network, preprocessing=Preprocessing(SIZE, (SIZE, SIZE)))
    calibration = calibrate(backbone, pixels)
    rows = OpenVINOEngine(backbone, precision="int8", calibration=calibration)(pixels)
    cosines = distances(rows, make_engine(backbone, engine="eager", device="cpu")(pixels))[1]
    assert cosines.min() > 0.99


def test_a_model_is_read_as_it_was_serialised(backbone, pixels, reference):
    model = read_model(serialise_model(to_openvino(backbone)))
    model.reshape([len(pixels), SIZE, SIZE, 3])
    import openvino

    rows = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)[0]
    assert distances(rows, reference)[0].max() < 1e-3


def test_workers_run_side_by_side_and_give_the_same(backbone, pixels, reference):
    engine = OpenVINOEngine(backbone, allocation=Allocation(2, 1, 3))
    results = [None] * 6

    def work(i):
        engine.enter()
        results[i] = engine(pixels)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(distances(rows, reference)[0].max() < 1e-3 for rows in results)


def test_a_network_that_openvino_cannot_take_is_one_line(backbone, monkeypatch):
    import openvino

    def refuse(*args, **kwargs):
        raise RuntimeError("Check failed\n  in frontend.cpp\nNo rule for aten::strange\n")

    monkeypatch.setattr(openvino, "convert_model", refuse)
    with pytest.raises(
        EngineError, match=r"OpenVINO cannot run it .*aten::strange.*; use engine='torch'"
    ) as e:
        OpenVINOEngine(backbone)
    assert "\n" not in str(e.value)


def test_a_module_that_may_branch_on_values_is_refused():
    branching, plain = (load_backbone(seeded(kind), preprocessing=SMALL) for kind in (Branching, Encoder))
    with pytest.raises(EngineError, match=r"Branching: OpenVINO cannot run it .*branch"):
        to_openvino(branching)
    to_openvino(plain)


def test_code_of_a_hub_that_branches_on_values_is_refused(tmp_path):
    (tmp_path / "hubconf.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        y = super().forward(x).mean((2, 3))\n"
        "        return y if y.sum() < 1e9 else -y\n"
        "def net(pretrained=False):\n"
        "    return Net(3, 2, 3)\n"
    )
    hub = load_backbone(f"hub:{tmp_path}:net", weights=None, preprocessing=SMALL, trust_code=True)
    with pytest.raises(EngineError, match="branch"):
        to_openvino(hub)


def test_several_layers_run_in_one_pass(backbone, pixels):
    layers = combine_layers(load_layers(backbone, ["features.3", None]))
    rows = OpenVINOEngine(layers, allocation=Allocation(1, 1, 5))(pixels)
    assert distances(rows, make_engine(layers, engine="eager", device="cpu")(pixels))[0].max() < 1e-5


def test_an_engine_that_a_child_inherited_is_refused(backbone, pixels):
    engine = OpenVINOEngine(backbone, allocation=Allocation(1, 1, 3))
    engine._process = -1  # as after a fork
    with pytest.raises(EngineError, match=r"built before the process was forked.*'spawn' or 'forkserver'"):
        engine(pixels)


def test_no_usage_data_is_sent():
    """Both send some on import, if their telemetry package can be imported."""
    code = (
        "import socket, sys, threading\n"
        "def refuse(*args, **kwargs): raise AssertionError('the network was used')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from featx.engines.openvino import import_openvino\n"
        "from featx.engines.int8 import import_nncf\n"
        f"for load in (import_openvino, import_nncf)[: {1 + installed('nncf')}]:\n"
        "    load()\n"
        "    assert 'openvino_telemetry' not in sys.modules, load\n"
        "    assert threading.active_count() == 1, load\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
