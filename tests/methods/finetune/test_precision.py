import pytest
import torch

from featx.engines import resolve
from featx.errors import InputError
from featx.methods.finetune.precision import choose_arithmetic


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_takes_the_cpu_when_there_is_nothing_else(no_accelerator):
    assert choose_arithmetic("auto").device.type == "cpu"


def test_a_cpu_with_native_bf16_uses_it_and_another_does_not(no_accelerator, monkeypatch):
    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: True)
    assert choose_arithmetic("cpu").precision == "bf16"
    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)
    assert choose_arithmetic("cpu").precision == "fp32"


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), "bf16"), ((7, 5), "fp16"), ((6, 1), "fp32")])
def test_cuda_uses_bf16_where_native_and_fp16_on_older_tensor_cores(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert choose_arithmetic("auto").precision == resolve(engine="torch").precision == expected
    assert choose_arithmetic("cuda:0").device == torch.device("cuda", 0)
    with pytest.raises(InputError, match="'cuda:1' is not available here"):
        choose_arithmetic("cuda:1")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", 3.5, None, "meta"])
def test_a_device_that_makes_no_sense_is_refused(device):
    with pytest.raises(InputError, match="unknown device"):
        choose_arithmetic(device)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_refused_with_advice(no_accelerator, device):
    with pytest.raises(InputError, match=f"'{device}' is not available here.*use device='cpu'"):
        choose_arithmetic(device)
