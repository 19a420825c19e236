"""Studies on a cluster: the numbers that they have alone, in the result as it is saved."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from own_modules import SMALL, Encoder, seeded
from pickling_cluster import PicklingCluster
from pictures import write_photos
from saved_results import saved
from texts import reviews, write_bert

from featx import Features, compare, learning_curve, load_backbone, rank
from featx.cli import main
from featx.data.tasks import Task
from featx.errors import InputError
from featx.studies.comparison import compare_detectors, compare_domains
from featx.studies.experiments import load_experiment

#: Two small networks.
TWO = {
    "backbones": [
        load_backbone(seeded(Encoder, seed), name=f"own {seed}", preprocessing=SMALL) for seed in (0, 1)
    ],
    "engine": "torch",
    "precision": "fp32",
    "n_jobs": 1,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of three classes in a table, two of each group."""
    root = write_photos(tmp_path_factory.mktemp("photos") / "photos", 12)
    place = root.parent / "photos.csv"
    with open(place, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "group"])
        for i, path in enumerate(sorted(root.rglob("*.png"))):
            rows.writerow([path, path.parent.name, i // 2])
    return place


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def one_thread():
    """Trainings compute on one thread, here as in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(numbers=False, n=48, shift=0.0):
    """Features of three classes, or with a number; pairs are groups."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(n, 8)) + shift).astype(np.float32)
    ids, groups = [f"{i}.png" for i in range(n)], np.arange(n) // 2
    space = {"backbone": {"architecture": "made"}}
    if numbers:
        return Features(x, ids, targets={"size": Task("size", x[:, 0] + y)}, groups=groups, space=space)
    return Features(x, ids, y, ("a", "b", "c"), groups=groups, space=space)


def test_a_comparison_with_everything_is_the_one_alone(photos, cache, tmp_path, one_thread):
    """Two backbones and their ensemble, groups, two splits, the head and the last layers fine-tuned."""
    options = TWO | {
        "n_boot": 20,
        "classifiers": ["ridge", "lda"],
        "baseline": ["head", "last"],
        "epochs": 1,
        "seeds": 2,
    }
    alone = compare(photos, **options, cache=cache, device="cpu")
    cluster = PicklingCluster(cores_each=1)
    there = compare(photos, **options, cache=cache, device="cpu", on=cluster, resume=tmp_path / "kept")
    names = [method.name for method in there.methods]
    assert names == [
        "majority",
        "pixels",
        *["ridge", "lda"] * 2,
        *("ensemble", "finetune-head", "finetune-last"),
    ]
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")
    assert any(task.gpus for task in cluster.tasks)
    # What was computed there is found here, and nothing is left to do.
    begun = len(cluster.tasks)
    again = compare(photos, **options, cache=cache, device="cpu", on=cluster, resume=tmp_path / "kept")
    assert all(method.earlier_run for method in again.methods)
    tasks = [task.key for task in cluster.tasks[begun:]]
    assert all(isinstance(key, str) for key in tasks)  # only the question on what device trainings run


def test_probes_of_all_splits_and_backbones_run_together(photos, cache):
    cluster = PicklingCluster()
    compare(
        photos, **TWO, classifiers="ridge", baseline="none", seeds=3, checks=False, cache=cache, on=cluster
    )
    # All methods; the members of the ensembles; and what the split by group changed.
    probes, members, _ = cluster.sent
    cells = [part for task in cluster.tasks for part in task.argument]
    assert [part.keep for part in cells].count("held_out") == 2 * 3
    assert [part.keep for part in cells].count("probabilities") == 2 * 3
    assert [part.keep for part in cells[:12]] == ["answers"] * 12
    assert members < probes


def test_ctrl_c_keeps_what_came_back_and_says_how_to_go_on(tmp_path):
    options = {"classifiers": ["ridge", "knn", "lda"], "baseline": "none", "n_boot": 20, "checks": False}
    stopped = PicklingCluster(ends_with=KeyboardInterrupt(), at=2)
    with pytest.raises(
        KeyboardInterrupt, match=r"^2 of 4 fits are kept in .*; run the same command to go on$"
    ):
        compare(rows(), **options, on=stopped, resume=tmp_path / "kept")
    result = compare(rows(), **options, resume=tmp_path / "kept")
    assert sum(method.earlier_run is not None for method in result.methods) == 2


@pytest.mark.parametrize("data", [rows(), rows(numbers=True)], ids=["classes", "numbers"])
def test_a_comparison_of_features_in_threads_is_the_one_alone(data, tmp_path):
    options = {"n_boot": 20, "checks": False, "baseline": "none"}
    options |= {"classifiers": ["ridge", "knn"]} if data.labels is not None else {"regressors": ["knn"]}
    alone = compare(data, **options)
    with ThreadPoolExecutor(2) as threads:
        there = compare(data, **options, on=threads)
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")


def test_a_comparison_of_texts_with_their_reference_is_the_one_alone(tmp_path):
    pytest.importorskip("transformers")
    texts, labels = reviews(12)
    options = {"classifiers": "ridge", "baseline": "none", "n_boot": 20, "checks": False}
    options |= {"backbones": f"hf:{write_bert(tmp_path / 'bert')}", "cache": tmp_path / "cache", "n_jobs": 1}
    alone = compare(texts, labels, **options)
    there = compare(texts, labels, **options, on=PicklingCluster())
    assert "tfidf" in [method.name for method in there.methods]
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")


def test_a_learning_curve_is_the_one_alone_and_goes_on(photos, cache, tmp_path):
    options = {"shots": [2, 4], "seeds": 2, "classifiers": ["ridge", "knn"], "baseline": ["head", "last"]}
    options |= TWO | {"epochs": 1, "backbones": TWO["backbones"][0], "cache": cache, "device": "cpu"}
    alone = learning_curve(photos, **options)
    there = learning_curve(photos, **options, on=PicklingCluster(), resume=tmp_path / "kept")
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")
    assert there.cells == {"computed": 20, "resumed": 0}
    again = learning_curve(photos, **options, resume=tmp_path / "kept")
    assert again.cells == {"computed": 0, "resumed": 20}


def test_a_ranking_is_the_one_alone(photos, cache, tmp_path):
    options = TWO | {"cache": cache}
    alone = rank(photos, **options)
    cluster = PicklingCluster()
    there = rank(photos, **options, on=cluster)
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")
    assert len(there.candidates) == 2
    assert len(cluster.sent) == 4  # scores and probes of each backbone


def test_domains_and_detectors_are_those_alone(tmp_path):
    for name, study in (
        ("domains", lambda **on: compare_domains(rows(), rows(shift=1.0), n_boot=20, **on)),
        ("detectors", lambda **on: compare_detectors(rows(), detectors="mahalanobis", n_boot=20, **on)),
    ):
        there, alone = study(on=PicklingCluster()), study()
        assert saved(there, tmp_path / name) == saved(alone, tmp_path / f"{name} alone")


def test_an_experiment_runs_where_whoever_runs_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows().save(tmp_path / "f.h5")
    cluster, given = PicklingCluster(), []
    monkeypatch.setattr(
        "featx.clusters.option.open_cluster", lambda on, verbose=False: given.append(on) or cluster
    )
    arguments = ["curve", "f.h5", "-o", "out", "--classifiers", "ridge", "--shots", "2", "--seeds", "2", "-q"]
    assert main([*arguments, "--on", "ray"]) == 0
    assert given == ["ray"]
    assert cluster.tasks
    assert "\non = " not in (tmp_path / "out" / "experiment.toml").read_text()
    assert main(["run", "out/experiment.toml", "-q", "--on", "ray://there:10001"]) == 0
    assert given == ["ray", "ray://there:10001"]
    assert main([*arguments, "--on", "slurm"]) == 2
    assert "on must be 'ray', 'ray://HOST:PORT'" in capsys.readouterr().err


def test_an_experiment_file_cannot_choose_the_cluster(tmp_path):
    place = tmp_path / "experiment.toml"
    place.write_text(
        '[experiment]\nkind = "curve"\noutput = "out"\n[data]\nsource = "f.h5"\n[run]\non = "ray"\n'
    )
    with pytest.raises(
        InputError, match=r"\[run\] on: whoever runs an experiment chooses the cluster; leave"
    ):
        load_experiment(place)
