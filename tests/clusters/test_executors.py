"""Clusters of executors: threads and processes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import work_of_clusters as work

from featx.clusters import Task, open_cluster
from featx.errors import ClusterError, ImageError, InputError


def tasks(count):
    return [Task(i, i) for i in range(count)]


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes"])
def cluster(request):
    if request.param == "processes":
        yield open_cluster(request.getfixturevalue("processes"))
        return
    with ThreadPoolExecutor(2) as pool:
        yield open_cluster(pool)


def test_every_task_gives_its_result(cluster):
    assert cluster.slots == 2
    assert cluster.description.endswith("PoolExecutor, 2 workers")
    found = {task.key: value for task, value in cluster.run(work.add, tasks(20), 100)}
    assert found == {i: 100 + i for i in range(20)}
    assert list(cluster.run(work.add, [], 0)) == []


def test_an_open_cluster_stays_open(cluster):
    with open_cluster(cluster) as same:
        assert same.slots == 2
    assert [value for _, value in cluster.run(work.add, tasks(1), 1)] == [1]


def test_tasks_are_read_a_little_ahead(cluster):
    read = []

    def endless():
        for task in tasks(1000):
            read.append(task)
            yield task

    with contextlib.closing(cluster.run(work.add, endless(), 0)) as run:
        next(run)
    assert len(read) <= 6


def test_an_error_of_the_work_is_raised_here(cluster):
    with pytest.raises(ImageError, match=r"^3.jpg: truncated JPEG$"):
        list(cluster.run(work.fail, tasks(10)))


def test_what_tasks_share_is_unpacked_once_in_a_worker(processes, tmp_path):
    shared = work.Counted(str(tmp_path))
    cluster = open_cluster(processes)
    pids = {pid for _, pid in cluster.run(work.use, tasks(30), shared)}
    assert len(list(tmp_path.iterdir())) == len(pids)
    # A worker that has missed it asks.
    cluster = open_cluster(processes)
    type(cluster).slots, before = property(lambda self: 1), type(cluster).slots
    try:
        found = {pid for task, pid in cluster.run(work.process_of, [Task(i, 0.02) for i in range(8)], shared)}
    finally:
        type(cluster).slots = before
    assert len(found) <= 2


def test_errors_that_cannot_travel_are_told(processes):
    with pytest.raises(RuntimeError, match="Strange: 1 and 2") as caught:
        list(open_cluster(processes).run(work.fail_strangely, tasks(1)))
    assert any("fail_strangely" in note for note in caught.value.__notes__)


def test_warnings_of_workers_are_given_here(processes):
    with pytest.warns(RuntimeWarning, match="be careful"):
        assert [value for _, value in open_cluster(processes).run(work.warn, tasks(1))] == [0]


def test_a_function_of_this_place_runs_elsewhere(processes):
    offset = 5
    run = open_cluster(processes).run(lambda shared, argument: shared + argument + offset, tasks(1), 1)
    assert [value for _, value in run] == [6]


def test_a_process_that_ends_is_one_error():
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        with pytest.raises(ClusterError, match=r"ended unexpectedly: memory may have run out.*is kept"):
            list(open_cluster(pool).run(work.die, [Task(3, 3)]))
        with pytest.raises(ClusterError, match="ended unexpectedly"):
            list(open_cluster(pool).run(work.add, tasks(1), 0))
    with ThreadPoolExecutor(1) as closed:
        pass
    with pytest.raises(ClusterError, match="has been shut down"):
        list(open_cluster(closed).run(work.add, tasks(1), 0))


def test_ctrl_c_ends_a_run(ctrl_c):
    with ThreadPoolExecutor(1) as pool:
        ctrl_c(0.2)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(open_cluster(pool).run(work.process_of, [Task(i, 0.5) for i in range(100)]))
        assert time.monotonic() - began < 20  # the waiting tasks were cancelled


def test_work_of_the_main_program(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""\
        from joblib.externals.loky import get_reusable_executor
        from featx.clusters import Task, open_cluster

        def double(shared, argument):
            return shared * argument

        cluster = open_cluster(get_reusable_executor(1))
        print(sorted(value for _, value in cluster.run(double, [Task(i, i) for i in range(3)], 2)))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout == "[0, 2, 4]\n", done.stderr


def test_what_cannot_be_pickled_is_one_error(processes):

    cluster = open_cluster(processes)
    for shared, argument in ((threading.Lock(), 1), (1, threading.Lock())):
        with pytest.raises(ClusterError, match="on: what a worker needs cannot be sent to it"):
            list(cluster.run(work.add, [Task(0, argument)], shared))
    with pytest.raises(ClusterError, match="on: what a worker made cannot be sent back"):
        list(cluster.run(work.make_lock, tasks(3), None))
    assert [value for _, value in cluster.run(work.add, tasks(1), 1)] == [1]


def test_work_that_ends_the_process_is_an_error(cluster):
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        list(cluster.run(work.leave, tasks(1), 3))
    assert [value for _, value in cluster.run(work.add, tasks(1), 1)] == [1]


def test_an_address_where_nothing_listens_is_told_at_once(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from featx.clusters import ray_cluster

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", None)  # would try for two minutes
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match=rf"^on='ray:127.0.0.1:{port}': Ray cannot be reached \(.*refused"):
        open_cluster(f"ray:127.0.0.1:{port}")
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"client of Ray needs the package 'grpcio'.*'ray\[client\]'"):
        open_cluster(f"ray://127.0.0.1:{port}")
