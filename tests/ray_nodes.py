"""Nodes of Ray on the loopback address, for tests and benchmarks."""

from __future__ import annotations

import logging
import os
import time
import warnings

from featx.clusters import Task

_NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


def start_nodes(count, cpus=1):
    """Start `count` nodes, of which the first is the head; connect this process to them."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, **_NODE})
        for _ in range(count - 1):
            add_node(cluster, cpus)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    return cluster


def add_node(cluster, cpus=1):
    """Start one more node."""
    return cluster.add_node(num_cpus=cpus, **_NODE)


def stop_nodes(cluster):
    """Disconnect, and end all nodes."""
    import ray

    ray.shutdown()
    cluster.shutdown()


def await_workers(cluster, count):
    """Wait until so many workers of an open cluster are ready."""
    while len(cluster._ready()) < count:
        list(cluster.run(pause, [Task(0, 0.1)]))


def pause(shared, seconds):
    time.sleep(seconds)
