"""How cores and memory are divided."""

from types import SimpleNamespace

import pytest
import torch
from inputs_of_networks import images
from torch import nn

from featx.backbones import load_backbone
from featx.engines import allocation
from featx.engines.allocation import Allocation, allocate, bytes_per_input


def run(network, height, width):
    """Return the parts of a backbone that the estimate reads."""
    return SimpleNamespace(module=network, inputs=images(height, width))


USUAL = {
    "cores": 4,
    "images": None,
    "preferred": 4,
    "largest": 64,
    "bytes_per_input": 10,
    "budget": 10_000,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Allocation(4, 1, 4)),
        ({"cores": 1}, Allocation(1, 1, 4)),
        ({"budget": None}, Allocation(4, 1, 4)),
        ({"preferred": images(32, 32).scale_batch(4)}, Allocation(4, 1, 64)),
        ({"preferred": images(112, 112).scale_batch(4)}, Allocation(4, 1, 16)),
        ({"preferred": images(600, 600).scale_batch(4)}, Allocation(4, 1, 1)),
        # few images: smaller batches, then fewer workers with more threads each
        ({"images": 8}, Allocation(4, 1, 2)),
        ({"images": 3}, Allocation(3, 1, 1)),
        ({"images": 2}, Allocation(2, 2, 1)),
        ({"images": 1}, Allocation(1, 4, 1)),
        ({"images": 0}, Allocation(1, 4, 1)),
        # little memory: smaller batches, then fewer workers
        ({"budget": 80}, Allocation(4, 1, 2)),
        ({"budget": 20}, Allocation(2, 2, 1)),
        ({"budget": 5}, Allocation(1, 4, 1)),
        # a batch size that the user gives is kept, with as many workers as memory allows
        ({"batch_size": 32}, Allocation(4, 1, 32)),
        ({"batch_size": 32, "budget": 640}, Allocation(2, 2, 32)),
        ({"batch_size": 32, "budget": 1}, Allocation(1, 4, 32)),
        ({"batch_size": 32, "images": 40}, Allocation(2, 2, 32)),
    ],
)
def test_every_core_gets_a_worker_as_long_as_there_are_images_and_memory(change, expected):
    assert allocate(**(USUAL | change)) == expected


def test_memory_is_estimated_from_shapes_without_running_anything():
    network = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert bytes_per_input(run(network, 20, 30)) == 3 * 4 * 10 * 20 * 30
    assert all(p.device.type == "cpu" for p in network.parameters())


def test_the_estimate_does_not_touch_the_network_itself(monkeypatch):
    """At every operator, the network has its own parameters and buffers."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).eval()
    before, seen = [*network.parameters(), *network.buffers()], []

    def watched(self, func, types, args=(), kwargs=None):
        now = [*network.parameters(), *network.buffers()]
        seen.append(all(a is b for a, b in zip(now, before, strict=True)))
        return original(self, func, types, args, kwargs)

    original = allocation._Largest.__torch_dispatch__
    monkeypatch.setattr(allocation._Largest, "__torch_dispatch__", watched)
    bytes_per_input(run(network, 20, 30))
    assert len(seen) >= 3
    assert all(seen)


def test_the_estimate_is_of_the_order_of_what_a_real_network_needs():
    backbone = load_backbone("mobilenet_v2", weights=None)
    largest = 96 * 112 * 112 * 4  # the widest layer of the paper's table, in float32
    assert 2 * largest <= bytes_per_input(backbone) <= 4 * largest


def test_an_operator_without_shapes_ends_the_estimate():
    class Odd(nn.Module):
        def forward(self, x):
            wide = torch.cat([x] * 5, dim=1)
            return wide[:, :, 0, 0] * float(wide.sum())  # a number is no shape

    assert bytes_per_input(run(Odd(), 10, 10)) == 3 * 4 * 15 * 100
