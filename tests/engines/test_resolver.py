"""What a request for engine, device and precision resolves to."""

import sys

import pytest
import torch

from featx.backbones import load_backbone
from featx.engines import Plan, build, build_engine, fallbacks, resolve, resolver
from featx.engines.openvino import import_openvino
from featx.errors import EngineError, InputError, MissingExtra, UnknownName
from featx.methods.finetune import precision as fine_tuning

FASTEST = resolver._fastest_on_cpu


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have these devices."""

    def pretend(cuda=0, mps=False, bf16=True, capability=(9, 0), cpu_bf16=False, packages=()):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: cpu_bf16)
        monkeypatch.setattr(resolver, "installed", lambda package: package in packages)
        monkeypatch.setattr(resolver, "_fastest_on_cpu", FASTEST)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"cuda": 1, "mps": True}, ("torch", "cuda", "bf16")),
        ({"cuda": 1, "capability": (8, 0)}, ("torch", "cuda", "bf16")),
        ({"cuda": 1, "capability": (7, 5)}, ("torch", "cuda", "fp16")),
        ({"cuda": 1, "capability": (6, 1)}, ("torch", "cuda", "fp32")),
        ({"mps": True, "packages": ["openvino"]}, ("torch", "mps", "fp32")),
        ({}, ("torch", "cpu", "fp32")),
        ({"cpu_bf16": True}, ("torch", "cpu", "bf16")),
        ({"packages": ["openvino"]}, ("openvino", "cpu", "fp32")),
        ({"packages": ["openvino"], "cpu_bf16": True}, ("openvino", "cpu", "bf16")),
    ],
)
def test_auto_takes_the_fastest_device_engine_and_precision(machine, has, expected):
    machine(**has)
    assert resolve() == Plan(*expected)


@pytest.mark.parametrize(
    ("start", "then"),
    [
        (("openvino", "cpu", "bf16"), ["torch bf16", "openvino fp32", "torch fp32", "eager fp32"]),
        (("openvino", "cpu", "int8"), ["openvino fp32", "torch fp32", "eager fp32"]),
        (("torch", "cuda:1", "fp16"), ["torch fp32", "eager fp32"]),
        (("torch", "cpu", "fp32"), ["eager fp32"]),
        (("eager", "cpu", "fp32"), []),
    ],
)
def test_fallbacks_end_at_the_plain_network(start, then):
    order = fallbacks(Plan(*start))
    assert [str(p) for p in order] == [f"{step} on {start[1]}" for step in then]


def test_int8_means_openvino_and_names_what_is_missing(machine):
    machine(packages=["openvino", "nncf"])
    assert resolve(precision="int8") == Plan("openvino", "cpu", "int8")
    with pytest.raises(InputError, match="precision 'int8' needs engine 'openvino' on the CPU"):
        resolve(precision="int8", engine="torch")
    machine(packages=["openvino"])
    with pytest.raises(MissingExtra, match=r"precision 'int8' needs the package 'nncf'.*featx\[int8\]"):
        resolve(precision="int8")
    machine()
    with pytest.raises(MissingExtra, match=r"engine 'openvino' needs the package 'openvino'"):
        resolve(engine="openvino")


@pytest.mark.parametrize(
    ("has", "request_", "part"),
    [
        ({"cuda": 1}, {"engine": "openvino"}, "engine 'openvino' runs on the CPU, and this runs on 'cuda'"),
        ({"cuda": 1}, {"precision": "int8"}, "precision 'int8' needs engine 'openvino' on the CPU"),
        ({"mps": True}, {"engine": "compile"}, "engine 'compile' is not supported on 'mps'"),
        ({}, {"engine": "eager", "precision": "bf16"}, "engine 'eager' is the reference in fp32"),
    ],
)
def test_engines_and_precisions_that_a_device_lacks_are_refused(machine, has, request_, part):
    machine(**has, packages=["openvino", "nncf"])
    with pytest.raises(InputError, match=part):
        resolve(**request_)


def test_explicit_choices_are_kept(machine):
    machine(cuda=2)
    assert resolve(engine="torch", device="cuda:1", precision="fp16") == Plan("torch", "cuda:1", "fp16")
    assert resolve(device="cpu", precision="bf16") == Plan("torch", "cpu", "bf16")
    assert resolve(device=torch.device("cuda:0")).device == "cuda:0"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"engine": "onnx"}, "engine"),
        ({"engine": None}, "engine"),
        ({"device": "gpu"}, "device"),
        ({"device": "cuda:x"}, "device"),
        ({"device": "cuda:"}, "device"),
        ({"device": "cuda:-1"}, "device"),
        ({"device": "cpu:0"}, "device"),
        ({"device": "auto:0"}, "device"),
        ({"device": "cuda:²"}, "device"),
        ({"device": ""}, "device"),
        ({"precision": "int4"}, "precision"),
        ({"precision": "float32"}, "precision"),
    ],
)
def test_unknown_names_are_refused_in_one_line(request_, kind):
    with pytest.raises(UnknownName, match=f"unknown {kind}") as caught:
        resolve(**request_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        ({"device": "cuda"}, "device 'cuda' is not available here"),
        ({"device": "cuda:0"}, "sees 0 CUDA devices; use device='cpu'"),
        ({"device": "mps"}, "device 'mps' is not available here"),
        ({"precision": "fp16"}, "'fp16' needs a CUDA device, and this runs on 'cpu'"),
        ({"precision": "fp16", "device": "cpu"}, "use 'fp32' or 'bf16'"),
    ],
)
def test_missing_devices_are_refused(machine, request_, part):
    machine()
    with pytest.raises(InputError, match=part):
        resolve(**request_)


def test_a_device_beyond_those_there_is_refused(machine):
    machine(cuda=2)
    with pytest.raises(InputError, match=r"device 'cuda:2' is not available here: .* sees 2 CUDA devices"):
        resolve(device="cuda:2")


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_child_forked_after_cuda_was_used_is_refused(machine, monkeypatch, device):
    machine(cuda=1)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    for choose in (resolve, fine_tuning.choose_arithmetic):
        with pytest.raises(InputError, match=rf"device '{device}'.*forked.*'spawn' or 'forkserver'.*loky"):
            choose(device=device)
        assert choose(device="cpu")


def test_bfloat16_needs_a_device_that_has_it(machine):
    machine(cuda=1, bf16=False)
    with pytest.raises(InputError, match="precision 'bf16' is not supported on 'cuda'"):
        resolve(precision="bf16")
    machine(mps=True)
    with pytest.raises(InputError, match="precision 'bf16' is not supported on 'mps'"):
        resolve(precision="bf16")


def test_a_mere_folder_is_not_an_installed_package(tmp_path, monkeypatch):
    (tmp_path / "some_engine").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not resolver.installed("some_engine")
    (tmp_path / "another_engine").mkdir()
    (tmp_path / "another_engine" / "__init__.py").touch()
    assert resolver.installed("another_engine")


def test_any_error_while_building_becomes_an_engine_error(monkeypatch):
    def fail(*args, **options):
        raise TypeError("unexpected layer\nwith a long story")

    monkeypatch.setattr("featx.engines.build._engine_class", lambda plan: (fail, 8))
    backbone = load_backbone("shufflenet_v2_x0_5", weights=None, image_size=32)
    message = r"shufflenet_v2_x0_5: torch fp32 on cpu fails here \(unexpected layer\)$"
    with pytest.raises(EngineError, match=message):
        build_engine(backbone, Plan("torch", "cpu", "fp32"))


def test_openvino_that_does_not_load_is_not_called_missing(tmp_path, monkeypatch):
    package = tmp_path / "openvino"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libopenvino.so: wrong ELF class')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EngineError, match=r"OpenVINO fails here .libopenvino\.so: wrong ELF class"):
        import_openvino()


def test_the_memory_of_a_gpu_sets_the_batch(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert build._budget("cuda:0") == 500
