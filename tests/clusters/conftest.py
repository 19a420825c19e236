"""A cluster of Ray with two nodes of one CPU each."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def nodes():
    """The nodes; this process is connected to them."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray_nodes import start_nodes, stop_nodes

    cluster = start_nodes(2)
    yield cluster
    stop_nodes(cluster)


@pytest.fixture(scope="session")
def cluster(nodes):
    """The open cluster: actors take seconds to start, so all tests share two of them."""
    from featx.clusters import open_cluster

    with open_cluster("ray") as opened:
        yield opened
