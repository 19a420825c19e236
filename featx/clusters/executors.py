"""A cluster made of an executor of ``concurrent.futures``: threads, processes, loky, Dask or MPI."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from typing import Any, Self

from featx.clusters.calls import Outcome, attempt, call, new_name, not_sent_back, pack
from featx.clusters.cluster import Task
from featx.errors import ClusterError, reason_of
from featx.kinds import count_of

#: Seconds that the end of a run that failed waits for tasks that are running.
_STOP_SECONDS = 10.0


class ExecutorCluster:
    """Runs tasks on an executor, which stays open (`featx.clusters.Cluster`).

    What the tasks share is sent with the first ones, as many as there are workers. A worker that has missed
    it asks, and its task is sent again with it.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor: Any = executor

    @property
    def slots(self) -> int:
        """The number of workers."""
        for name in ("_max_workers", "num_workers"):
            count = getattr(self._executor, name, None)
            if isinstance(count, int) and count > 0:
                return count
        client = getattr(self._executor, "_client", None)  # of Dask; its workers come and go
        if client is not None and hasattr(client, "nthreads"):
            return max(1, sum(client.nthreads().values()))
        from featx.machine import cores

        return cores()

    @property
    def cores(self) -> int:
        """The number of workers."""
        return self.slots

    @property
    def gpus(self) -> int:
        """0: an executor does not say."""
        return 0

    @property
    def cores_each(self) -> int:
        """A share of this machine's cores for each worker on it; 1 on other machines."""
        from featx.machine import cores

        here = type(self._executor).__module__.partition(".")[0] in ("concurrent", "joblib", "loky")
        return max(1, cores() // self.slots) if here else 1

    @property
    def description(self) -> str:
        """The kind of executor and the number of workers."""
        return f"{type(self._executor).__name__.lstrip('_')}, {count_of(self.slots, 'worker')}"

    def run(
        self, work: Callable[[Any, Any], Any], tasks: Iterable[Task], shared: Any = None
    ) -> Generator[tuple[Task, Any]]:
        """Yield tasks with what `work` returns, as they end; see `Cluster.run`."""
        submit = self._in_threads if isinstance(self._executor, ThreadPoolExecutor) else self._elsewhere
        send = submit(work, shared)
        waiting = iter(tasks)
        open_: dict[Future, Task] = {}
        try:
            more = True
            while more or open_:
                while more and len(open_) < 2 * self.slots:
                    task = next(waiting, None)
                    if task is None:
                        more = False
                        break
                    open_[send(task, False)] = task
                if not open_:
                    break
                for future in wait(open_, return_when=FIRST_COMPLETED).done:
                    task = open_.pop(future)
                    outcome = self._outcome(future)
                    if outcome.wanted:
                        open_[send(task, True)] = task
                    else:
                        yield task, outcome.result()
        finally:
            running = [future for future in open_ if not future.cancel()]
            wait(running, timeout=_STOP_SECONDS)

    def _in_threads(self, work: Callable[[Any, Any], Any], shared: Any) -> Callable[[Task, bool], Future]:
        """Return what submits a task to threads of this process, where nothing needs to be pickled."""
        return lambda task, again: self._submit(attempt, work, shared, task.argument)

    def _elsewhere(self, work: Callable[[Any, Any], Any], shared: Any) -> Callable[[Task, bool], Future]:
        """Return what submits a task to another process."""
        name, packed, sent = new_name(), pack(shared), 0

        def send(task: Task, again: bool) -> Future:
            nonlocal sent
            with_it = again or sent < self.slots
            sent += 1
            return self._submit(call, pack((work, task.argument)), name, packed if with_it else None)

        return send

    def _submit(self, *call: Any) -> Future:
        try:
            future: Future = self._executor.submit(*call)
        except BrokenExecutor as error:
            raise _broken(error) from error
        except RuntimeError as error:
            if "shutdown" not in str(error):
                raise
            raise ClusterError("on: the executor has been shut down") from error
        return future

    def _outcome(self, future: Future) -> Outcome:
        try:
            outcome: Outcome = future.result()
        except BrokenExecutor as error:
            raise _broken(error) from error
        except CancelledError:
            raise
        except Exception as error:  # not of the work, whose errors are in the outcome
            if type(error).__name__ == "KilledWorker":  # of Dask, which has tried several workers
                raise _broken(error) from error
            raise not_sent_back(error) from error
        return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _broken(error: BaseException) -> ClusterError:
    return ClusterError(
        "on: a worker of the executor ended unexpectedly: memory may have run out, or a library crashed; "
        f"what was finished is kept: run again with a new executor ({reason_of(error)})"
    )
