"""Clusters of Ray, two nodes of one CPU: tasks, extraction and studies on them, whatever becomes of workers.

One module, so that all tests run in one process with one cluster.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import work_of_clusters as work
from pictures import BACKBONE, picture, write_photos
from ray_nodes import add_node, await_workers
from saved_results import saved

import featx
from featx import Features, compare, learning_curve
from featx.clusters import Task, open_cluster
from featx.clusters import ray_cluster as ray_clusters
from featx.errors import ClusterError, ImageError, InputError, MissingExtra
from featx.extraction import embed, network_embedder
from featx.extraction.ranges import Mark
from featx.methods.probes import CLASSIFIERS, Probe
from featx.options import Run

SETTINGS = {"engine": "torch", "precision": "fp32", "batch_size": 4}
QUICK = {"classifiers": ["ridge", "knn", "lda"], "baseline": "none"}


def tasks(count):
    return [Task(i, i) for i in range(count)]


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


def test_a_worker_has_its_next_task_before_its_result_is_taken(cluster, tmp_path):
    await_workers(cluster, 2)
    few = (Task(i, 0.001 * i) for i in range(1, 99))
    with contextlib.closing(cluster.run(work.linger, few, str(tmp_path))) as run:
        next(run)
        while len(list(tmp_path.iterdir())) < 3:
            time.sleep(0.01)


def test_a_run_that_its_caller_ends_keeps_the_workers(cluster):
    before = {pid for _, (pid, _) in cluster.run(work.process_of, [Task(i, 0.2) for i in range(4)])}
    with contextlib.closing(cluster.run(work.process_of, [Task(i, 0.05) for i in range(99)])) as run:
        next(run)
    after = {pid for _, (pid, _) in cluster.run(work.process_of, [Task(i, 0.2) for i in range(4)])}
    assert after == before


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


def test_a_task_that_ends_every_worker_is_divided_and_named(cluster, monkeypatch):
    def task(numbers):
        middle = len(numbers) // 2
        halves = (lambda: [task(numbers[:middle]), task(numbers[middle:])]) if middle else None
        return Task(str(numbers), numbers, halves=halves)

    done = []
    monkeypatch.setattr(ray_clusters, "_TRIES", 2)
    with pytest.raises(ClusterError, match=r"the task \[3\] has ended 2 workers"):  # noqa: PT012
        for _, value in cluster.run(work.die, [task([2, 3]), task([5])]):
            done.append(value)
    assert all(value in ([2], [5]) for value in done)  # which of them end before the run does depends on time
    assert [value for _, value in cluster.run(work.add, tasks(1), 1)] == [1]


@pytest.fixture(scope="module")
def third(nodes):
    """A node of three CPUs, which comes later."""
    return add_node(nodes, 3)


def test_a_node_that_joins_gets_work(cluster, third):
    def endless():
        while True:
            yield Task(len(pids), 0.1)

    pids = set()
    with contextlib.closing(cluster.run(work.process_of, endless())) as run:
        for _, (pid, _) in run:
            pids.add(pid)
            if len(pids) == 3:
                break


def test_tasks_of_one_core_share_a_worker(cluster, third):
    await_workers(cluster, 3)
    few = [Task(i, 0.5, cores=1) for i in range(5)]
    found = [pid for _, (pid, _) in cluster.run(work.process_of, few)]
    assert sorted(Counter(found).values()) == [1, 1, 3]


def test_a_node_that_leaves_loses_nothing(nodes, cluster, third):
    nodes.remove_node(third)
    found = [value for _, value in cluster.run(work.add, tasks(20), 0)]
    assert sorted(found) == list(range(20))


def test_another_address_is_refused_while_connected(nodes):
    with pytest.raises(InputError, match="connected to Ray already"):
        open_cluster("ray:127.0.0.1:1")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"featx\[ray\]"):
        open_cluster("ray")


@pytest.fixture(scope="module")
def embedder():
    return network_embedder(featx.load_backbone(BACKBONE, weights=None, image_size=32), Run(**SETTINGS))


@pytest.fixture(scope="module")
def alone(tmp_path_factory, embedder):
    """60 pictures, and their rows in one process."""
    folder = tmp_path_factory.mktemp("alone")
    files = [folder / f"{i:03d}.png" for i in range(60)]
    for i, file in enumerate(files):
        picture((4 * i, 200 - 3 * i, 90), i).save(file)
    images = [watched(file, folder) for file in files]
    return files, embed(images, embedder, cache=folder / "cache").embeddings


def watched(file, notes, deadly=False):
    return work.WatchedImage(file.name, str(file), str(notes), os.getpid(), deadly)


@pytest.fixture(params=["seen", "unseen"])
def cache(request, tmp_path, monkeypatch):
    """The folder of a cache, which workers see or do not see."""
    if request.param == "unseen":
        monkeypatch.setattr(Mark, "write", classmethod(lambda cls, folder: cls("/nowhere/mark", b"")))
    return tmp_path / "cache"


def test_rows_are_those_of_one_process(nodes, cluster, alone, embedder, cache, tmp_path):
    files, expected = alone
    found = embed([watched(file, tmp_path) for file in files], embedder, cache=cache, on=cluster)
    np.testing.assert_array_equal(found.embeddings, expected)
    assert found.computed == found.profile.images == len(files)
    assert found.profile.engine["cluster"].startswith("Ray, ")
    reads = Counter(path.name.partition("-")[0] for path in tmp_path.glob("[0-9]*-*"))
    assert set(reads.values()) == {1}


def test_a_killed_worker_loses_only_what_it_had(nodes, cluster, alone, embedder, tmp_path):
    files, expected = alone
    images = [watched(file, tmp_path, deadly=i == 45) for i, file in enumerate(files)]
    found = embed(images, embedder, cache=tmp_path / "cache", on=cluster)
    np.testing.assert_array_equal(found.embeddings, expected)
    reads = Counter(path.name.partition("-")[0] for path in tmp_path.glob("[0-9]*-*"))
    assert len(reads) == len(files)
    assert max(reads.values()) == 2
    assert embed(images, embedder, cache=tmp_path / "cache").forward_passes == 0


def test_a_failure_is_that_of_one_process(nodes, cluster, tmp_path):
    photos = write_photos(tmp_path / "photos", 10)
    (photos / "sky" / "no.png").write_text("this is no picture")
    options = {"backbone": BACKBONE, "weights": None, "image_size": 32, **SETTINGS}
    alone = featx.extract(photos, cache=tmp_path / "a", on_error="skip", **options)
    found = featx.extract(photos, cache=tmp_path / "c", on_error="skip", on=cluster, **options)
    assert list(map(str, found.failures)) == list(map(str, alone.failures))
    assert found.ids == alone.ids
    (photos / "sky" / "001.png").write_text("this is none either")
    with pytest.raises(ImageError, match=r"\.png: .*on_error='skip'"):
        featx.extract(photos, cache=tmp_path / "b", on=cluster, **options)


def test_the_command_line(nodes, cluster, tmp_path, capsys, monkeypatch):
    from featx.cli import main

    # One of its own would start other actors, which takes time.
    monkeypatch.setattr("featx.extraction.on_cluster.open_cluster", lambda on, verbose: open_cluster(cluster))
    photos = write_photos(tmp_path / "photos", 10)
    network = ["--backbone", BACKBONE, "--weights", "random", "--image-size", "32"]
    flags = [*network, "--engine", "torch", "--precision", "fp32"]
    out, cache = str(tmp_path / "f.h5"), str(tmp_path / "cache")
    main(["extract", str(photos), *flags, "-o", out, "--cache", cache, "--on", "ray", "--profile"])
    told = capsys.readouterr().err
    assert "extracting on Ray, " in told
    assert "torch fp32 on cpu of Ray, " in told
    assert len(featx.load_features(out)) == 30


def test_an_own_network_is_sent(nodes, cluster, tmp_path):
    from torch import nn

    class Network(nn.Module):  # of this place: no worker can import it
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 8, 4, stride=4)

        def forward(self, x):
            return self.layer(x).relu().mean((2, 3))

    photos = write_photos(tmp_path / "photos", 5)
    preprocessing = featx.Preprocessing(resize=32, crop=(32, 32))
    given = {"backbone": Network(), "preprocessing": preprocessing, **SETTINGS}
    alone = featx.extract(photos, cache=tmp_path / "a", **given)
    found = featx.extract(photos, cache=tmp_path / "b", on=cluster, **given)
    assert found.run["forward_passes"] == 15
    np.testing.assert_array_equal(found.embeddings, alone.embeddings)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(60, 8))).astype(np.float32)
    space = {"backbone": {"architecture": "made"}}
    ids, groups = [f"{i}.png" for i in range(60)], np.arange(60) // 2
    return Features(x, ids, y, ("a", "b", "c"), groups=groups, space=space)


def test_a_comparison_and_a_curve_on_ray_are_those_alone(cluster, rows, tmp_path):
    options = QUICK | {"n_boot": 20, "seeds": 2, "checks": False}
    alone, there = compare(rows, **options), compare(rows, **options, on=cluster, resume=tmp_path / "kept")
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")
    assert all(m.earlier_run for m in compare(rows, **options, resume=tmp_path / "kept").methods)
    options = QUICK | {"shots": [2, 4], "seeds": 2, "checks": False}
    alone, there = learning_curve(rows, **options), learning_curve(rows, **options, on=cluster)
    assert saved(there, tmp_path / "curve there") == saved(alone, tmp_path / "curve alone")
    assert there.cells == {"computed": 12, "resumed": 0}


def test_a_killed_worker_changes_nothing(cluster, rows, tmp_path, monkeypatch):
    place, here = str(tmp_path / "killed"), os.getpid()

    def build(problem):
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if os.getpid() != here and not os.path.exists(place):
            Path(place).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), {}

    monkeypatch.setitem(CLASSIFIERS, "mine", Probe("mine", "Mine", build, on_request=True))
    options = QUICK | {"classifiers": ["ridge", "mine", "knn"], "n_boot": 20, "checks": False}
    alone, there = compare(rows, **options), compare(rows, **options, on=cluster)
    assert Path(place).exists()
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")


def test_ctrl_c_leaves_no_actor_that_works(cluster, monkeypatch, tmp_path):
    await_workers(cluster, 2)
    waited = cluster._ray.wait

    def press(*given, **options):
        if time.monotonic() > pressed:
            monkeypatch.setattr(cluster._ray, "wait", waited)
            raise KeyboardInterrupt
        return waited(*given, **options)

    pressed = time.monotonic() + 0.5
    monkeypatch.setattr(cluster._ray, "wait", press)
    with pytest.raises(KeyboardInterrupt):
        list(cluster.run(work.linger, [Task(i, 60 + i) for i in range(9)], str(tmp_path)))
    deadline = time.monotonic() + 10
    while actors() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not actors()
