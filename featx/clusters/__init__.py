"""Clusters: run independent pieces of work on other processes and machines, and take back what they return.

A cluster is made of Ray (extra ``ray``) or of any ``concurrent.futures.Executor`` (Dask, MPI, loky). Workers
may come and go; a task whose worker is lost runs again elsewhere.
"""

from __future__ import annotations

from featx.clusters.cluster import Cluster, Task, open_cluster
from featx.clusters.option import opens_cluster

__all__ = ["Cluster", "Task", "open_cluster", "opens_cluster"]
