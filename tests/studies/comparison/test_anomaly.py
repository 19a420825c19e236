"""Compare detectors by class, score images without classes: results, files, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pictures import QUICK_OPTIONS, write_photos
from sklearn.metrics import roc_auc_score

from featx import Features
from featx.cli import main
from featx.errors import DatasetError, InputError, UnknownName
from featx.methods.detectors import NeighborDetector
from featx.studies.comparison import compare_detectors, find_anomalies


def blobs(n=180, seed=0, classes=("a", "b", "c"), spread=2.5):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(classes)
    rows = rng.normal(size=(n, 6)) + spread * np.eye(6)[y]
    splits = np.where(np.arange(n) < n // 2, "train", "test")
    return Features(
        rows.astype(np.float32), [f"{seed}-{i}" for i in range(n)], y, classes, splits, space={"v": 1}
    )


@pytest.fixture(scope="module")
def result():
    return compare_detectors(blobs(), n_boot=100)


def test_each_class_is_normal_once(result):
    assert result.protocol == "one-class"
    assert result.normal == ["a", "b", "c"]
    assert [d.name for d in result.detectors] == ["knn", "mahalanobis", "ocsvm", "isolation-forest"]
    features = blobs()
    train, test = (features.subset(features.splits == part) for part in ("train", "test"))
    for i, problem in enumerate(result.detectors[0].problems):
        assert problem["n_train"] == 30
        model = NeighborDetector().fit(train.embeddings[train.labels == i])
        expected = roc_auc_score(test.labels != i, -model.score_samples(test.embeddings))
        assert problem["auroc"].value == pytest.approx(expected, abs=1e-9)
    for d in result.detectors:
        assert d.auroc.value == pytest.approx(np.mean([p["auroc"].value for p in d.problems]))
        assert d.auroc.low < d.auroc.value < d.auroc.high
        assert d.found > d.false_alarms
    assert result.detectors[0].false_alarms < 0.15
    assert "as the normal class" in result.advice


def test_several_classes_are_normal_together():
    result = compare_detectors(blobs(), normal=["a", "b"], detectors="mahalanobis", n_boot=20)
    (detector,) = result.detectors
    assert [(p["normal"], p["n_train"]) for p in detector.problems] == [("a, b", 60)]
    assert result.protocol == "given"
    assert "normal: a, b; 60 training and 90 test images" in result.table()


def test_normal_images_of_their_own_all_train():
    normal, test = blobs(90, 1, ("good",)), blobs(120, 2, ("good", "broken"))
    result = compare_detectors(normal, test, normal="good", detectors=["knn"], n_boot=20)
    assert (result.dataset["n_train"], result.dataset["n_test"]) == (90, 120)
    assert result.detectors[0].auroc.value > 0.8


def test_groups_and_copies_are_the_units_of_the_intervals(tmp_path):
    normal, test = blobs(60, 1, ("good",)), blobs(120, 2, ("good", "broken"))
    one = compare_detectors(normal, test, normal="good", detectors=["knn"], n_boot=200)
    assert one.units == {"images": 120, "units": 120, "groups": False, "copies": 0}
    six = Features(
        np.repeat(test.embeddings, 6, axis=0),
        [f"{i}-{k}" for i in test.ids for k in range(6)],
        np.repeat(test.labels, 6),
        test.classes,
        space=test.space,
    )
    copied = compare_detectors(normal, six, normal="good", detectors=["knn"], n_boot=200)
    assert copied.units == {"images": 720, "units": 120, "groups": False, "copies": 600}
    a, b = (r.detectors[0].auroc for r in (one, copied))
    assert a.value == pytest.approx(b.value)
    assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.3)  # not 1 / sqrt(6) of it
    assert "count 120 different pictures as the units of 720 test images" in copied.heading()
    assert "count 120 different pictures" in copied.save(tmp_path).read_text()
    test.groups = np.arange(120) // 4
    grouped = compare_detectors(normal, test, normal="good", detectors=["knn"], n_boot=200)
    assert (grouped.units["units"], grouped.units["groups"]) == (30, True)


def test_perfect_detectors_are_not_certain():
    normal, test = blobs(60, 1, ("good",), spread=40), blobs(240, 2, ("good", "broken"), spread=40)
    (knn,) = compare_detectors(normal, test, normal="good", detectors=["knn"], n_boot=100).detectors
    assert (knn.auroc.value, knn.fpr95.value) == (1, 0)
    assert 0.9 < knn.auroc.low < 0.999
    assert 0.01 < knn.fpr95.high < 0.3


def test_images_are_scored_without_any_label(tmp_path):
    normal, test = blobs(90, 1, ("good",), spread=8), blobs(60, 2, ("good", "broken"), spread=8)
    bare = Features(test.embeddings, test.ids, space={"v": 1})
    scored = find_anomalies(normal, bare)
    assert (np.diff(scored.decision) >= 0).all()
    broken = {id for id, y in zip(test.ids, test.labels, strict=True) if y == 1}
    assert set(scored.ids[:30]) == broken
    assert scored.anomalous[:30].all()
    scored.write_csv(tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert rows[0]["id"] == scored.ids[0]
    assert sum(int(row["anomalous"]) for row in rows) == scored.anomalous.sum()


def test_what_is_written_can_be_read(result, tmp_path):
    result.dataset["name"] = "<photos>"
    report = result.save(tmp_path / "out").read_text(encoding="utf-8")
    assert "<photos>" not in report
    assert "hardest first" in report
    # A narrow screen has no heads of columns.
    assert 'data-label="Nearest neighbours"' in report
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (data["schema"], data["kind"], len(data["detectors"])) == (1, "anomaly", 4)
    assert set(data["detectors"][0]["problems"][0]) == {"normal", "n_train", "auroc", "fpr95"}
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 1 + 4 * 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compare_detectors(blobs(), normal="d"), DatasetError, "no class 'd'; classes: a, b, c"),
        (
            lambda: compare_detectors(blobs(), normal=["a", "b", "c"]),
            DatasetError,
            "no anomalous test images",
        ),
        (lambda: compare_detectors(blobs(), blobs()), InputError, "say which of its classes are normal"),
        (lambda: compare_detectors(blobs(), detectors="knnn"), UnknownName, "did you mean knn"),
        (lambda: find_anomalies(blobs().subset([0]), blobs()), DatasetError, "1 normal images to train on"),
        (
            lambda: find_anomalies(blobs(), blobs(), bach_size=3),
            TypeError,
            "unexpected keyword argument 'bach_size'; did you mean batch_size",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_folders_on_the_command_line(capsys, tmp_path):
    photos = write_photos(tmp_path / "photos", 12)
    common = ["--quiet", *QUICK_OPTIONS, "-o"]
    out = str(tmp_path / "out")
    assert main(["anomaly", str(photos), "--normal", "sky", "--detectors", "knn", *common, out]) == 0
    out = capsys.readouterr().out
    assert "normal: sky; 9 training and 9 test images" in out
    assert (tmp_path / "out" / "report.html").is_file()
    new = str(tmp_path / "new")
    assert main(["anomaly", str(photos / "sky"), str(photos / "leaf"), *common, new]) == 0
    out = capsys.readouterr().out
    assert "of 12 images are unlike the 12 normal ones (knn)" in out
    assert len((tmp_path / "new" / "scores.csv").read_text().splitlines()) == 13
    many = ["--detectors", "knn", "ocsvm", *common, str(tmp_path / "none")]
    assert main(["anomaly", str(photos / "sky"), str(photos), *many]) == 2
    assert not (tmp_path / "none").exists()
    assert "--detectors takes one name to score images with" in capsys.readouterr().err
