"""``featx label``: the ids that the strategies choose among the images without a label."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from featx.analysis.labelling import badge, k_center, margin, typical
from featx.cli import main
from featx.data.features import Features
from featx.data.tasks import Task
from featx.methods.probes import fit_probe


def run(capsys, *argv):
    status = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    if lines and lines[0].split() == ["image", "suggested", "confidence"]:
        lines = lines[2:]
    return status, [line.split()[0] for line in lines], err


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """60 images of three kinds; 12 of them have a label."""
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 3
    rows = (np.eye(3, 6)[kinds] * 2 + rng.normal(size=(60, 6))).astype(np.float32)
    values = np.where(np.arange(60) < 12, kinds, -1)
    features = Features(
        rows,
        [f"{i}.png" for i in range(60)],
        labels=np.zeros(60, int),
        classes=("photo",),
        targets={"kind": Task("kind", values, ("a", "b", "c"))},
        space={"layer": "x"},
    )
    path = tmp_path_factory.mktemp("label") / "f.h5"
    features.save(path)
    return path, features


@pytest.mark.parametrize("strategy", ["margin", "k-center", "badge", "typical", "auto"])
def test_it_chooses_among_the_images_without_a_label(capsys, file, strategy):
    path, features = file
    known, pool = features.embeddings[:12], features.embeddings[12:]
    probe = fit_probe("logreg", known, np.arange(12) % 3)
    scaled = StandardScaler().fit(known).transform(pool)
    probabilities = probe.predict_proba(pool)
    expected = {
        "margin": margin(probabilities, 9),
        "k-center": k_center(pool, 9, labelled=known),
        "badge": badge(scaled, probabilities, 9),
        "typical": (first := typical(pool, 9, labelled=known)),
        "auto": first,  # four labels a class are few
    }[strategy]
    status, ids, _ = run(capsys, "label", path, "-n", 9, "--strategy", strategy)
    assert status == 0
    assert ids == [f"{12 + i}.png" for i in expected]
    assert run(capsys, "label", path, "-n", 9, "--strategy", strategy, "--label", "kind")[1] == ids


def test_without_labels_typical_images_are_chosen_and_more_than_there_are_is_all(capsys, file, tmp_path):
    features = file[1]
    Features(features.embeddings, features.ids, space=features.space).save(tmp_path / "bare.h5")
    _, ids, _ = run(capsys, "label", tmp_path / "bare.h5", "-n", 99)
    assert sorted(ids) == sorted(features.ids)
    _, ids, _ = run(capsys, "label", tmp_path / "bare.h5", "-n", 5)
    assert ids == [features.ids[i] for i in typical(features.embeddings, 5)]
    _, ids, _ = run(capsys, "label", tmp_path / "bare.h5", "-n", 5, "--strategy", "k-center")
    assert ids == [features.ids[i] for i in k_center(features.embeddings, 5)]
    status, _, err = run(capsys, "label", tmp_path / "bare.h5", "--strategy", "margin")
    assert status == 2
    assert "needs images of two classes" in err
    assert "got 0; start with --strategy typical" in err


def test_what_leaves_nothing_to_choose_is_one_line(capsys, file, tmp_path):
    path, features = file
    status, _, err = run(capsys, "label", path, "--label", "label")
    assert status == 2
    assert "every image has a label" in err
    assert "unknown label 'kidn'; did you mean kind" in run(capsys, "label", path, "--label", "kidn")[2]
    other = Task("other", np.where(np.arange(60) < 9, 0, -1), ("z",))
    Features(
        features.embeddings, features.ids, targets={**features.targets, "other": other}, space=features.space
    ).save(tmp_path / "two.h5")
    assert "say which with --label kind or other" in run(capsys, "label", tmp_path / "two.h5")[2]


def test_with_many_labels_of_each_class_the_images_that_a_probe_is_unsure_of_are_chosen(capsys, tmp_path):
    rng = np.random.default_rng(1)
    kinds = np.arange(70) % 2
    rows = (np.eye(2, 4)[kinds] + rng.normal(scale=0.5, size=(70, 4))).astype(np.float32)
    known = np.arange(70) < 20
    task = Task("kind", np.where(known, kinds, -1), ("a", "b"))
    ids = [f"{i}.png" for i in range(70)]
    Features(rows, ids, targets={"kind": task}).save(tmp_path / "f.h5")
    by_default = run(capsys, "label", tmp_path / "f.h5", "-n", 9)[1]
    assert by_default == run(capsys, "label", tmp_path / "f.h5", "-n", 9, "--strategy", "badge")[1]


def test_the_options_of_the_network_are_refused_for_a_features_file(capsys, file):
    status, _, err = run(capsys, "label", file[0], "--backbone", "resnet18")
    assert status == 2
    assert "backbone='resnet18' has no effect" in err
