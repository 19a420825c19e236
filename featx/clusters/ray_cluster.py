"""A cluster made of Ray: one actor for each GPU, or for each node with its cores.

Actors are started for every node that has free resources, also for those that join during a run. A task whose
actor is lost, with its process or with its node, runs again on another one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Self

from featx.clusters.calls import Outcome, call, new_name, pack
from featx.clusters.cluster import Task
from featx.clusters.versions import compare_versions, versions_here
from featx.errors import ClusterError, InputError, MissingExtra, reason_of
from featx.kinds import count_of
from featx.terminal import tell

#: Seconds between two looks at the nodes of the cluster.
_LOOK_SECONDS = 1.0
#: Seconds that an address may take to answer.
_CONNECT_SECONDS = 10.0
#: Seconds without any worker after which a run gives up.
_PATIENCE_SECONDS = 60.0
#: Seconds that the end of a run that failed waits for the tasks of other workers.
_STOP_SECONDS = 10.0
#: Seconds that the end of a run whose caller has had enough, such as for an unreadable input, waits for them:
#: what they finish is kept, and a worker that is ended must import its libraries anew.
_CLOSE_SECONDS = 2.0
#: Times that a task is begun, and that a node is tried, before they are given up.
_TRIES = 3
#: Tasks that are drawn to find one that a worker may run.
_AHEAD = 64


@dataclass(eq=False)
class _Worker:
    """An actor; `ready` is what it answers first, None once it has."""

    actor: Any
    node: str
    cpus: int
    gpus: int
    ready: Any
    tasks: list[Task] = field(default_factory=list)

    def has_room_for(self, task: Task) -> bool:
        """Whether it has cores left for a task; one that needs the GPU takes all."""
        if not self.tasks:
            return True
        if any(one.cores is None or (self.gpus and one.gpus) for one in (task, *self.tasks)):
            return False
        return sum(one.cores or 0 for one in (task, *self.tasks)) <= self.cpus


@dataclass(eq=False)
class _Work:
    """The tasks of one run: those that wait, and those that workers have."""

    tasks: Iterator[Task]
    drawn: deque[Task] = field(default_factory=deque)
    busy: dict[Any, tuple[_Worker, Task]] = field(default_factory=dict)
    lost: Counter[Task] = field(default_factory=Counter)  # times that a task has lost its worker
    all_drawn: bool = False

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return self.all_drawn and not self.drawn and not self.busy

    def next_for(self, worker: _Worker, with_gpus: bool) -> Task | None:
        """Take the next task that this worker may run now; None if there is none.

        `with_gpus` says whether some worker has a GPU, which tasks that need one then wait for.
        """
        for task in self._waiting():
            if (worker.gpus or not (task.gpus and with_gpus)) and worker.has_room_for(task):
                self.drawn.remove(task)
                return task
            if worker.tasks and len(self.drawn) > len(worker.tasks):
                return None  # it has work, and others may run these
        return None

    def _waiting(self) -> Iterator[Task]:
        yield from list(self.drawn)
        while len(self.drawn) < _AHEAD and not self.all_drawn:
            task = next(self.tasks, None)
            if task is None:
                self.all_drawn = True
            else:
                self.drawn.append(task)
                yield task


class RayCluster:
    """Runs tasks on actors of Ray (`featx.clusters.Cluster`).

    Parameters
    ----------
    address : str
        ``"ray"``, ``"ray://HOST:PORT"`` (Ray Client) or ``"ray:HOST:PORT"``.
    """

    def __init__(self, address: str, *, verbose: bool = False) -> None:
        self._ray = _import_ray()
        self._verbose = verbose
        self._workers: list[_Worker] = []
        self._failed: Counter[str] = Counter()  # nodes on which an actor did not start
        self._reason = "no node has a free CPU or GPU"
        self._looked = self._alive = -1e9
        self._ends = _connect(self._ray, address)
        try:
            self._await_workers()
        except BaseException:
            self.__exit__()
            raise

    @property
    def slots(self) -> int:
        """The number of actors."""
        return max(1, len(self._workers))

    @property
    def cores(self) -> int:
        """The cores of all actors."""
        return max(1, sum(worker.cpus for worker in self._workers))

    @property
    def gpus(self) -> int:
        """The GPUs of all actors."""
        return sum(worker.gpus for worker in self._workers)

    @property
    def cores_each(self) -> None:
        """None: a process of Ray knows its cores."""
        return None

    @property
    def description(self) -> str:
        """The numbers of nodes, and of GPUs or CPUs."""
        nodes = count_of(len({worker.node for worker in self._workers}), "node")
        power = count_of(self.gpus, "GPU") if self.gpus else count_of(self.cores, "CPU")
        return f"Ray, {nodes}, {power}"

    def run(
        self, work: Callable[[Any, Any], Any], tasks: Iterable[Task], shared: Any = None
    ) -> Generator[tuple[Task, Any]]:
        """Yield tasks with what `work` returns, as they end; see `Cluster.run`."""
        name, held = new_name(), self._ray.put(pack(shared))
        run, patience = _Work(iter(tasks)), 0.0

        def give_work() -> None:
            with_gpus = any(worker.gpus for worker in self._workers)
            for worker in sorted(self._ready(), key=lambda worker: len(worker.tasks)):
                while (task := run.next_for(worker, with_gpus)) is not None:
                    ticket = worker.actor.call.remote(pack((work, task.argument)), name, [held])
                    run.busy[ticket] = worker, task
                    worker.tasks.append(task)

        try:
            while True:
                self._look()
                give_work()
                if run.is_done:
                    return
                starting = [worker.ready for worker in self._workers if worker.ready is not None]
                if not run.busy and not starting:
                    self._require_hope()
                    time.sleep(_LOOK_SECONDS / 4)
                    continue
                ended: list[tuple[Task, Outcome]] = []
                for ticket in self._ray.wait([*run.busy, *starting], timeout=_LOOK_SECONDS)[0]:
                    if ticket not in run.busy:
                        self._welcome(ticket)
                        continue
                    worker, task = run.busy.pop(ticket)
                    worker.tasks.remove(task)
                    outcome = self._outcome(ticket, worker)
                    if outcome is None:
                        self._again(run, task, worker)
                    else:
                        run.lost.pop(task, None)
                        ended.append((task, outcome))
                if all(outcome.error is None for _, outcome in ended):
                    give_work()  # workers go on while the caller takes what they returned
                for task, outcome in sorted(ended, key=lambda one: one[1].error is not None):
                    yield task, outcome.result()
        except Exception:  # whatever failed: the other tasks may end, so that their rows are kept
            patience = _STOP_SECONDS
            raise
        except GeneratorExit:
            patience = _CLOSE_SECONDS
            raise
        finally:
            self._stop(run, patience)

    def _ready(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.ready is None]

    def _outcome(self, ticket: Any, worker: _Worker) -> Outcome | None:
        """Return the outcome of a call; None if its actor was lost."""
        try:
            outcome: Outcome = self._ray.get(ticket)
        except self._ray.exceptions.RayTaskError as error:
            raise ClusterError(f"on: a worker failed ({reason_of(error.cause)})") from error
        except self._ray.exceptions.RayError as error:
            self._reason = f"the last one ended unexpectedly: {_first_line(error)}"
            self._lose(worker)
            return None
        self._alive = time.monotonic()
        return outcome

    def _again(self, run: _Work, task: Task, worker: _Worker) -> None:
        """Let a lost task run again, or give it up."""
        count = run.lost.pop(task, 0) + 1
        if count > 1 and task.halves is not None:
            parts = list(task.halves())
            run.lost.update(dict.fromkeys(parts, 1))
            run.drawn.extendleft(reversed(parts))
            return
        if count >= _TRIES:
            raise ClusterError(
                f"on: the task {task.key} has ended {count} workers: memory may have run out, "
                f"or a library crashes on one of its inputs; what was finished is kept ({self._reason})"
            )
        again = replace(task, cores=None)  # alone in its worker, so that it harms no other task
        run.lost[again] = count
        run.drawn.appendleft(again)
        if self._verbose:
            tell(f"a worker on {worker.node} was lost; its task runs again")

    def _stop(self, run: _Work, seconds: float) -> None:
        """End the workers that are busy, after `seconds` at most."""
        if run.busy and seconds:
            self._ray.wait(list(run.busy), num_returns=len(run.busy), timeout=seconds)
        for ticket, (worker, task) in run.busy.items():
            worker.tasks.remove(task)
            if not self._ray.wait([ticket], timeout=0)[0]:
                self._lose(worker)

    def _lose(self, worker: _Worker) -> None:
        with contextlib.suppress(ValueError):
            self._workers.remove(worker)
        with contextlib.suppress(Exception):  # it may be gone, with its node or with the whole cluster
            self._ray.kill(worker.actor, no_restart=True)

    def _await_workers(self) -> None:
        """Wait for the first worker."""
        self._alive = time.monotonic()
        while not self._ready():
            self._look()
            starting = [worker.ready for worker in self._workers]
            if not starting:
                self._require_hope()
                time.sleep(_LOOK_SECONDS / 4)
                continue
            for ticket in self._ray.wait(starting, timeout=_LOOK_SECONDS)[0]:
                self._welcome(ticket)

    def _require_hope(self) -> None:
        if time.monotonic() - self._alive > _PATIENCE_SECONDS:
            raise ClusterError(f"on: Ray has no worker for this run ({self._reason})")

    def _welcome(self, ticket: Any) -> None:
        """Take a worker that has answered into use, or remove it."""
        worker = next(worker for worker in self._workers if worker.ready == ticket)
        try:
            versions = self._ray.get(ticket)
        except self._ray.exceptions.RayError as error:
            self._failed[worker.node] += 1
            self._reason = f"an actor did not start: {_first_line(error)}"
            self._lose(worker)
            return
        worker.ready = None
        self._alive = time.monotonic()
        compare_versions(versions, f"the worker on {versions['host']}")

    def _look(self) -> None:
        """Start actors where resources are free."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        free = _free_resources()
        for node in self._ray.nodes():
            name = node["NodeID"]
            if not node["Alive"] or self._failed[name] >= _TRIES:
                continue
            has = node["Resources"]
            left = has if free is None else free.get(name, {})
            gpus, cpus = int(has.get("GPU", 0)), int(left.get("CPU", 0))
            here = sum(worker.node == name for worker in self._workers)
            if gpus and here < gpus:
                share = max(0, int(has.get("CPU", 0)) // gpus)
                count = min(gpus - here, int(left.get("GPU", 0)), cpus // share if share else gpus)
                for _ in range(count):
                    self._start(name, share, 1)
            elif not gpus and not here and cpus:
                self._start(name, cpus, 0)

    def _start(self, node: str, cpus: int, gpus: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = (
            self._ray.remote(_Actor)
            .options(
                num_cpus=cpus,
                num_gpus=gpus,
                max_restarts=0,
                max_concurrency=max(1, cpus),
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(cpus, sys.path)
        )
        self._workers.append(_Worker(actor, node, cpus, gpus, actor.versions.remote()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in list(self._workers):
            self._lose(worker)
        if self._ends:
            self._ray.shutdown()


class _Actor:
    """What runs on a node: the process that calls the work."""

    def __init__(self, cpus: int, path: list[str]) -> None:
        # Modules of the user's are found as in the process that sent the work.
        sys.path += [folder for folder in path if folder not in sys.path and os.path.isdir(folder)]
        if cpus:
            # Before the libraries that compute are imported: other processes have the other cores.
            os.environ["LOKY_MAX_CPU_COUNT"] = str(cpus)

    def versions(self) -> dict[str, str]:
        """Return what its rows depend on."""
        return versions_here()

    def call(self, work: bytes, name: str, held: list[Any]) -> Outcome:
        """Call the work; the shared object is fetched if it is not here yet."""
        import ray

        return call(work, name, lambda: ray.get(held[0]))


def _import_ray() -> Any:
    # Nothing is sent to anybody, unless the user has asked for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("ray", "ray", "computing on a cluster of Ray") from error
    return ray


def _connect(ray: Any, address: str) -> bool:
    """Connect to a cluster; return whether the connection is ours to end."""
    wanted = address.removeprefix("ray:") if not address.startswith("ray://") else address
    if ray.is_initialized():
        if wanted != "ray":
            raise InputError(
                f"on={address!r}: this process is connected to Ray already; use on='ray', or call "
                "ray.shutdown() first"
            )
        return False
    _require_reachable(address, wanted)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about future versions of Ray
        try:
            if wanted.startswith("ray://"):
                ray.init(wanted, logging_level=logging.ERROR)
            elif wanted != "ray":
                ray.init(wanted, **options)
            else:
                try:
                    ray.init("auto", **options)
                except ConnectionError:
                    if os.environ.get("RAY_ADDRESS"):
                        raise
                    ray.init("local", include_dashboard=False, **options)
        except Exception as error:  # of several libraries
            raise InputError(f"on={address!r}: Ray cannot be reached ({_first_line(error)})") from error
    _keep_output_clean()
    return True


def _require_reachable(address: str, wanted: str) -> None:
    """Find out soon what Ray would find out after minutes."""
    if wanted.startswith("ray://") and find_spec("grpc") is None:
        raise InputError(
            f"on={address!r}: the client of Ray needs the package 'grpcio'; install it with: "
            "pip install 'ray[client]'"
        )
    host, _, port = wanted.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdecimal():
        return
    hosts = [host.strip("[]")]
    if hosts[0] in ("127.0.0.1", "localhost", "::1"):  # Ray may listen at the address of the machine only
        hosts.append(socket.gethostname())
    reason = ""
    for name in hosts:
        try:
            socket.create_connection((name, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            reason = reason or reason_of(error)
        else:
            return
    raise InputError(f"on={address!r}: Ray cannot be reached ({reason})")


def _keep_output_clean() -> None:
    """Keep Ray from printing about lost workers on standard output, which is for results."""
    with contextlib.suppress(Exception):  # it is private, so it may go
        from ray._private import worker

        worker.print_to_stdstream = _print_nothing


def _print_nothing(data: Any, ignore_prefix: bool = False) -> None:
    pass


def _free_resources() -> dict[str, dict[str, float]] | None:
    """Return what is free on each node; None where Ray does not say (through Ray Client)."""
    try:
        from ray._private.state import available_resources_per_node

        free: dict[str, dict[str, float]] = available_resources_per_node()
    except Exception:  # it is private, so it may go
        return None
    return free


def _first_line(error: BaseException) -> str:
    return reason_of(Exception(str(error).strip().partition("\n")[0]))
