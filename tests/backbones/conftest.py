"""A small network's weights as files of many shapes."""

import pytest
import torch

from featx.backbones import load_backbone
from featx.backbones.loading import random_network

SMALL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Networks on tiny images are slower with more threads, and wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_state():
    """The state dict of a small network with seed 7."""
    architecture = load_backbone(SMALL, weights=None).architecture
    return random_network(architecture, 7).state_dict()


@pytest.fixture
def save(tmp_path):
    """Write what torch.save writes; returns the path."""

    def write(content, name="small.pth"):
        path = tmp_path / name
        torch.save(content, path)
        return path

    return write
