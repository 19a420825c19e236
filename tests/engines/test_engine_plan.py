"""What a request for an engine, a device and a precision means."""

import pytest
import torch

from featx.engines import Plan, resolve
from featx.errors import InputError, UnknownName


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have these devices."""

    def pretend(cuda=0, mps=False, bf16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("devices", "expected"),
    [({"cuda": 1, "mps": True}, "cuda"), ({"mps": True}, "mps"), ({}, "cpu")],
)
def test_auto_takes_the_fastest_device_and_full_precision(machine, devices, expected):
    machine(**devices)
    assert resolve() == Plan("torch", expected, "fp32")


def test_what_is_asked_for_is_taken(machine):
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
        ({"device": ""}, "device"),
        ({"precision": "int8"}, "precision"),
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
def test_what_this_machine_has_not_is_refused(machine, request_, part):
    machine()
    with pytest.raises(InputError, match=part):
        resolve(**request_)


def test_a_device_beyond_those_there_is_refused(machine):
    machine(cuda=2)
    with pytest.raises(InputError, match=r"device 'cuda:2' is not available here: .* sees 2 CUDA devices"):
        resolve(device="cuda:2")


def test_bfloat16_needs_a_device_that_has_it(machine):
    machine(cuda=1, bf16=False)
    with pytest.raises(InputError, match="precision 'bf16' is not supported on 'cuda'"):
        resolve(precision="bf16")
    machine(mps=True)
    with pytest.raises(InputError, match="precision 'bf16' is not supported on 'mps'"):
        resolve(precision="bf16")
