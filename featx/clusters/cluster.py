"""What a cluster is, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self


@dataclass(frozen=True, eq=False)
class Task:
    """A piece of work.

    Attributes
    ----------
    key : hashable
        Tells it from the other tasks of a run.
    argument : object
        What `Cluster.run` hands to the work; it can be pickled.
    gpus : float
        The share of a GPU that it needs, where the cluster has any.
    cores : int or None
        The cores that it computes on; None for all that a worker has. Only Ray runs several in a worker.
    halves : callable, optional
        Returns smaller tasks that do the same work. They take its place when it has ended two workers, so
        that an input which crashes a library is found.
    """

    key: Any
    argument: Any
    gpus: float = 0.0
    cores: int | None = None
    halves: Callable[[], Sequence[Task]] | None = None


class Cluster(Protocol):
    """Workers that run tasks; a context manager, which ends what it started."""

    @property
    def slots(self) -> int:
        """How many tasks run at a time now, at least 1; it changes as workers come and go."""

    @property
    def cores(self) -> int:
        """How many tasks of one core run at a time now, at least 1."""

    @property
    def cores_each(self) -> int | None:
        """The cores that a task without a number of cores may use; None for all that its process may."""

    @property
    def description(self) -> str:
        """What messages call it, such as ``"Ray, 2 nodes"``."""

    def run(
        self, work: Callable[[Any, Any], Any], tasks: Iterable[Task], shared: Any = None
    ) -> Generator[tuple[Task, Any]]:
        """Call ``work(shared, task.argument)`` for each task; yield what it returns, as tasks end.

        `work` is a function at the top of a module. `shared` is sent to each worker once. `tasks` is read
        a little ahead of the workers. A task whose worker dies runs again, up to a few times. An error that
        `work` raises is raised here, when the tasks that run have been stopped. The caller may stop early
        (close the iterator).
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def open_cluster(on: Any, *, verbose: bool = False) -> Cluster:
    """Open what the option ``on`` names.

    Parameters
    ----------
    on : str, concurrent.futures.Executor or Cluster
        ``"ray"``: the Ray cluster that this process or machine belongs to (``RAY_ADDRESS``), else a local
        one; ``"ray://HOST:PORT"`` or ``"ray:HOST:PORT"``: that one. An object with the method `submit` of an
        executor, or an open cluster, stays open.

    Raises
    ------
    MissingExtra
        Ray is not installed.
    InputError
        The cluster cannot be reached.
    """
    if isinstance(on, str):
        from featx.clusters.ray_cluster import RayCluster

        return RayCluster(on, verbose=verbose)
    if hasattr(on, "submit"):
        from featx.clusters.executors import ExecutorCluster

        return ExecutorCluster(on)
    return _Open(on)


class _Open:
    """A cluster that was opened elsewhere, and stays open."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass
