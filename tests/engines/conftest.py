"""What the tests of all engines share."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Networks on tiny images are slower with more threads, and wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
