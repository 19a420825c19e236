"""Cells on a cluster: the records of cells alone, kept as they come back, whatever ends the run."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
from pickling_cluster import PicklingCluster
from texts import reviews

from featx.backbones import load_backbone
from featx.clusters import open_cluster, opens_cluster
from featx.data.splits import Split
from featx.errors import ClusterError, InputError
from featx.inputs.image import PixelImage
from featx.inputs.text import StringText
from featx.methods.adaptation import CORAL
from featx.methods.probes import CLASSIFIERS, Probe
from featx.methods.probes.training_rows import TrainingRows
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation import (
    Cell,
    FineTuning,
    LabelledRows,
    TuningSetup,
    fine_tuning,
    on_cluster,
    probe_method,
    run_cells,
    run_cells_in_parallel,
)
from featx.studies.evaluation.methods import AdaptedProbe, DetectorMethod
from featx.studies.evaluation.on_cluster import compute_on
from featx.studies.evaluation.text_rows import TextRows
from featx.studies.evaluation.time_left import StudyProgress

N = 60
HALVES = [Split(np.arange(start, N, 2), np.arange(1 - start, N, 2)) for start in (0, 1)]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 20)
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(N, 8))).astype(np.float32)
    return LabelledRows(x, y, 3, np.arange(N) // 2)


@pytest.fixture(scope="module")
def study(rows):
    names = ("ridge", "lda")
    return [Cell(probe_method(n), rows, split, seed) for n in names for seed in (0, 1) for split in HALVES]


@pytest.fixture(scope="module")
def cells(rows, study):
    """One cell of every kind of method and of rows."""
    numbers = LabelledRows(rows.x, rows.x[:, 0] * 2.0 + rows.y, groups=rows.groups)
    texts, _ = reviews(N // 2)
    read = TextRows([StringText(str(i), text) for i, text in enumerate(texts)])
    written = LabelledRows(read, np.arange(N) // 2 % 2, 2, kind="text")
    adapted = AdaptedProbe("coral", "CORAL", classifier="lda", adapter=CORAL(), unlabelled=np.arange(9))
    split = HALVES[0]
    return [
        *study[:2],
        replace(study[0], keep="small_answers"),
        replace(study[0], keep="held_out"),
        replace(study[0], keep="probabilities"),
        Cell(probe_method("ridge", task="numbers"), numbers, split, 0, "values"),
        Cell(probe_method("tfidf"), written, split, 0),
        Cell(adapted, LabelledRows(rows.x, rows.y, 3), split, 0),
        Cell(DetectorMethod("mahalanobis", "Mahalanobis"), numbers, split, 0, "values"),
    ]


def without_times(record):
    return {name: value for name, value in record.items() if name != "seconds"}


@pytest.mark.parametrize("where", ["threads", "pickled"])
def test_records_are_those_of_cells_alone_to_the_last_digit(cells, where):
    with ThreadPoolExecutor(2) as threads:
        cluster = open_cluster(threads) if where == "threads" else PicklingCluster()
        found = dict(compute_on(cluster, [[cell] for cell in cells], Checkpoints()))
    alone = Checkpoints()
    for cell in cells:
        record, _ = cell.run()
        assert cell.is_valid(found[cell])
        expected = alone.add(cell.key, record)
        np.testing.assert_equal(without_times(found[cell]), without_times(expected))


def test_a_study_finds_on_a_cluster_what_it_found_alone_and_the_other_way_round(study, tmp_path):
    alone = list(run_cells(study[:4], Checkpoints(tmp_path / "cells.journal")))
    cluster = PicklingCluster()
    kept = Checkpoints(tmp_path / "cells.journal")
    both = list(run_cells(study, kept, cluster=cluster))
    assert kept.added == 4
    assert [bool(outcome.earlier_run) for outcome in both] == [True] * 4 + [False] * 4
    again = Checkpoints(tmp_path / "cells.journal")
    for one, other in zip([*alone, *both[4:]], run_cells_in_parallel(study, again, n_jobs=1), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
    assert again.added == 0


def test_rows_are_sent_once_for_all_cells_and_without_their_digests(study):
    for cell in study:
        assert cell.key
    cluster = PicklingCluster()
    run_cells_in_parallel(study, Checkpoints(), cluster=cluster)
    assert len(cluster.sent) == 1
    assert cluster.sent[0] < len(cloudpickle.dumps(study[0].rows)) + 8000
    assert all(len(cloudpickle.dumps(task.argument)) < 500 for task in cluster.tasks)
    assert not {"_digests", "_of_thread"} & study[0].rows.__getstate__().keys()


def test_cells_of_a_split_are_one_task_and_share_its_training_rows(study, monkeypatch):
    made = []
    monkeypatch.setattr(
        "featx.methods.probes.training_rows.TrainingRows",
        lambda *args, **more: made.append(0) or TrainingRows(*args, **more),
    )
    cluster = PicklingCluster()
    run_cells_in_parallel(study, Checkpoints(), cluster=cluster)
    assert [len(task.argument) for task in cluster.tasks] == [2] * 4
    assert len(made) == 4


def test_what_a_worker_shares_is_forgotten_when_it_goes_on_to_other_rows(study):
    rows = [replace(cell.rows) for cell in study[:2]]
    shared, parts = on_cluster._Shared.of([[replace(c, rows=r)] for c, r in zip(study, rows, strict=False)])
    for part in parts:
        on_cluster.run_group(shared, part)
    assert [bool(vars(one._of_thread)) for one in rows] == [False, True]


def test_cells_that_differ_in_what_they_keep_are_fitted_once(study, monkeypatch):
    fitted, fit = [], type(study[0].method).fit
    monkeypatch.setattr(type(study[0].method), "fit", lambda *args: fitted.append(0) or fit(*args))
    group = [replace(study[0], keep=keep) for keep in ("held_out", "probabilities")] + [study[1]]
    assert len(list(compute_on(PicklingCluster(), [group], Checkpoints()))) == 3
    assert len(fitted) == 2


@pytest.mark.parametrize("end", [KeyboardInterrupt(), ClusterError("on: no worker is left")])
def test_what_came_back_before_the_end_is_kept(study, tmp_path, end):
    kept = Checkpoints(tmp_path / "cells.journal")
    with pytest.raises(type(end)) as caught:
        run_cells_in_parallel(study, kept, cluster=PicklingCluster(ends_with=end, at=3))
    if isinstance(end, KeyboardInterrupt):
        assert str(caught.value).startswith(f"6 of 8 fits are kept in {tmp_path}; run the same command")
    again = Checkpoints(tmp_path / "cells.journal")
    assert len(again) == 6
    cluster = PicklingCluster()
    outcomes = run_cells_in_parallel(study, again, cluster=cluster)
    assert sum(len(task.argument) for task in cluster.tasks) == 2
    for one, other in zip(outcomes, run_cells(study), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


def test_an_error_of_a_cell_is_raised_as_it_is_alone(study):
    alone = replace(study[0], split=Split(np.arange(N // 3), np.arange(N // 3, N)))
    wrong = replace(alone, method=DetectorMethod("knn", "kNN", contamination=0.0), keep="values")
    errors = []
    for cluster in (None, PicklingCluster()):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            list(run_cells([wrong], cluster=cluster))
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


def test_a_worker_with_other_versions_than_the_key_is_refused(study, monkeypatch):
    cell = replace(study[0], seed=7)
    shared, parts = on_cluster._Shared.of([[cell]])
    monkeypatch.setattr(on_cluster, "installed_version", lambda name: "0.1")
    with pytest.raises(InputError, match=r"^on: a worker has numpy 0\.1, and this study runs with \d"):
        on_cluster.run_group(shared, parts[0])


def test_a_probe_of_the_user_goes_along(rows, monkeypatch):
    def build(problem):
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), KNeighborsClassifier(2)), {}

    monkeypatch.setitem(CLASSIFIERS, "mine", Probe("mine", "Mine", build, on_request=True))
    cell = Cell(probe_method("mine"), rows, HALVES[0], 0)
    shared, parts = on_cluster._Shared.of([[cell]])
    packed = cloudpickle.dumps(shared)
    expected, _ = cell.run()
    del CLASSIFIERS["mine"]
    ((record, _),) = on_cluster.run_group(pickle.loads(packed), parts[0])
    np.testing.assert_equal(without_times(record), without_times(expected))


def test_progress_counts_what_came_back_and_the_cells_that_run_at_a_time(study):
    cluster = PicklingCluster(slots=4)
    with StudyProgress(study, Checkpoints(), cluster=cluster, enabled=False) as progress:
        progress._enabled = True
        assert "on a cluster of tests" in progress._describe()[1]
        before = progress._pace.expected(next(iter(progress._missing)))
        cluster.slots = 8  # workers have joined
        assert progress._pace.expected(next(iter(progress._missing))) == before / 2
        kept = Checkpoints()
        assert len(list(compute_on(cluster, [[cell] for cell in study], kept, progress))) == 8
        assert progress._describe() == (1.0, "all 8 fits are done; scoring and checking")
        extra = replace(study[0], keep="held_out")
        progress.computed(extra, 1.0)
        assert progress._computed == 8


def test_a_cluster_that_the_decorator_opened_is_closed_and_others_stay_open():
    class Closing(PicklingCluster):
        closed = False

        def __exit__(self, *error):
            self.closed = True

    @opens_cluster
    def study(*, on=None):
        assert on is None or on.slots == 2
        return on

    given = Closing()
    assert study() is None
    study(on=given)
    assert not given.closed
    with ThreadPoolExecutor(2) as threads:
        study(on=threads)
        assert threads.submit(int).result() == 0


@pytest.fixture(scope="module")
def tuned():
    """Fine-tuned cells of a small network, the head and the last layers, on two splits."""
    net = load_backbone("squeezenet1_1", weights=None, image_size=32)
    rng = np.random.default_rng(0)
    images = [PixelImage(str(i), rng.integers(0, 256, (40, 40, 3), np.uint8)) for i in range(24)]
    x = rng.normal(size=(24, net.dim)).astype(np.float32)
    rows = LabelledRows(x, np.arange(24) % 2, 2)

    def make(cluster=None, device="cpu"):
        setup = TuningSetup(net, images, device, 1, False, cluster=cluster)
        split = Split(np.arange(16), np.arange(16, 24))
        return [Cell(FineTuning.of(mode, setup), rows, split, 0) for mode in ("head", "last")]

    return make


def test_fine_tuned_cells_are_those_alone_and_ask_for_a_gpu(tuned, study):
    cluster = PicklingCluster()
    cells = tuned(cluster)
    probes = [replace(cell, rows=cells[0].rows, split=cells[0].split) for cell in study[:1]]
    kept = Checkpoints()
    both = run_cells_in_parallel([*probes, *cells], kept, cluster=cluster)
    gpus = {task.key: task.gpus for task in cluster.tasks if isinstance(task.key, int)}
    assert sorted(gpus.values()) == [0.0, 1.0, 1.0]
    assert gpus[0] == 1.0  # the training of the network comes first
    for one, other in zip(both[1:], run_cells_in_parallel(tuned(), Checkpoints(), n_jobs=1), strict=True):
        assert one.params == other.params
        np.testing.assert_array_equal(one.answers.sure, other.answers.sure)
    assert [cell.key for cell in cells] == [cell.key for cell in tuned()]
    assert not cells[0].method.setup.__getstate__()["_digests"]


def test_the_key_of_a_training_names_the_device_of_the_workers(tuned, monkeypatch):
    cluster = PicklingCluster()
    monkeypatch.setattr(fine_tuning, "choose_arithmetic_for", lambda device: ("cuda", "bf16"))
    cells = tuned(cluster, "auto")
    assert cells[0].method.define(cells[0])["arithmetic"] == ["cuda", "bf16"]
    assert [task.gpus for task in cluster.tasks] == [1.0]
    # Another worker decides otherwise.
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"^on: one worker of the cluster trains in \w+ on cpu, and another"):
        list(compute_on(cluster, [[cells[0]]], Checkpoints()))


def test_the_time_of_trainings_is_measured_where_they_run(tuned):
    cluster = PicklingCluster()
    (_, last) = tuned(cluster)
    setup = last.method.setup
    costs = setup.measured_costs(setup.recipe("last", 16), 2)
    assert costs.train > 0
    assert [task.gpus for task in cluster.tasks] == [1.0]
    assert setup.measured_costs(setup.recipe("last", 16), 2) is costs
