"""Weights of a small network, and files of them."""

import pytest
import torch

from featx.backbones import load_backbone
from featx.backbones.loading import random_network

SMALL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Use one thread: networks on tiny images are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_state():
    """State dict of a small network with seed 7."""
    architecture = load_backbone(SMALL, weights=None).architecture
    return random_network(architecture, 7).state_dict()


@pytest.fixture
def save(tmp_path):
    """Save to a file with torch.save, and return its path."""

    def write(content, name="small.pth"):
        path = tmp_path / name
        torch.save(content, path)
        return path

    return write
