"""Settings of all tests of engines."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Use one thread: networks on tiny images are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
