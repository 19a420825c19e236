"""A cluster of Ray with two nodes of one CPU each, beside a head that computes nothing."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def nodes():
    """The cluster; this process is connected to it."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray_nodes import start_nodes, stop_nodes

    cluster = start_nodes(2)
    yield cluster
    stop_nodes(cluster)
