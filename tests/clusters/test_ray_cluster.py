"""Clusters of Ray: two nodes of one CPU."""

from __future__ import annotations

import contextlib
import time
from collections import Counter

import pytest
import work_of_clusters as work
from ray_nodes import add_node, await_workers

from featx.clusters import Task, open_cluster
from featx.errors import ClusterError, ImageError, InputError, MissingExtra


def tasks(count):
    return [Task(i, i) for i in range(count)]


@pytest.fixture(scope="module")
def cluster(nodes):
    with open_cluster("ray") as opened:
        yield opened


def actors():
    """The actors that are alive, as Ray says."""
    from ray._private.state import actors

    return [actor for actor in actors().values() if actor["State"] not in ("DEAD",)]


def test_every_task_gives_its_result(cluster):
    found = {task.key: value for task, value in cluster.run(work.add, tasks(20), 100)}
    assert found == {i: 100 + i for i in range(20)}
    assert list(cluster.run(work.add, [], 0)) == []


def test_both_nodes_work(cluster):
    await_workers(cluster, 2)
    pids = {pid for _, (pid, _) in cluster.run(work.process_of, [Task(i, 0.2) for i in range(4)])}
    assert len(pids) == cluster.slots == 2
    assert cluster.description == "Ray, 2 nodes, 2 CPUs"


def test_an_error_of_the_work_is_raised_here(cluster):
    with pytest.raises(ImageError, match=r"^3.jpg: truncated JPEG$"):
        list(cluster.run(work.fail, tasks(10)))


def test_warnings_of_workers_are_given_here(cluster):
    with pytest.warns(RuntimeWarning, match="be careful"):
        assert [value for _, value in cluster.run(work.warn, tasks(1))] == [0]


def test_a_task_whose_worker_is_killed_runs_again(cluster, tmp_path):
    found = [value for _, value in cluster.run(work.die_once, tasks(6), str(tmp_path))]
    assert sorted(found) == list(range(6))
    calls = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert sorted(calls) == ["0", "1", "2", "3", "3", "4", "5"]


def test_a_task_that_ends_every_worker_is_divided_and_named(cluster):
    def task(numbers):
        middle = len(numbers) // 2
        halves = (lambda: [task(numbers[:middle]), task(numbers[middle:])]) if middle else None
        return Task(str(numbers), numbers, halves=halves)

    done = []
    with pytest.raises(ClusterError, match=r"the task \[3\] has ended 3 workers"):  # noqa: PT012
        for _, value in cluster.run(work.die, [task([2, 3, 4]), task([5])]):
            done.append(value)
    assert [5] in done
    assert [value for _, value in cluster.run(work.add, tasks(1), 1)] == [1]


def test_nodes_come_and_go(nodes, cluster):
    def endless():
        while True:
            yield Task(len(pids), 0.1)

    pids, third = set(), add_node(nodes)
    with contextlib.closing(cluster.run(work.process_of, endless())) as run:
        for _, (pid, _) in run:
            pids.add(pid)
            if len(pids) == 3:
                break
    nodes.remove_node(third)
    found = [value for _, value in cluster.run(work.add, tasks(20), 0)]
    assert sorted(found) == list(range(20))


def test_tasks_of_one_core_share_a_worker(nodes, cluster):
    cluster.__exit__()
    third = add_node(nodes, 3)
    try:
        with open_cluster("ray") as opened:
            await_workers(opened, 3)
            few = [Task(i, 0.5, cores=1) for i in range(5)]
            found = [pid for _, (pid, _) in opened.run(work.process_of, few)]
    finally:
        nodes.remove_node(third)
    assert sorted(Counter(found).values()) == [1, 1, 3]


def test_ctrl_c_leaves_no_actor(cluster, ctrl_c, tmp_path):
    cluster.__exit__()  # its actors have the CPUs; later runs start new ones
    with pytest.raises(KeyboardInterrupt), open_cluster("ray") as opened:  # noqa: PT012
        ctrl_c(0.5)
        list(opened.run(work.linger, [Task(i, 60 + i) for i in range(9)], str(tmp_path)))
    deadline = time.monotonic() + 10
    while actors() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not actors()


def test_another_address_is_refused_while_connected(nodes):
    with pytest.raises(InputError, match="connected to Ray already"):
        open_cluster("ray:127.0.0.1:1")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"featx\[ray\]"):
        open_cluster("ray")
