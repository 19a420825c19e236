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
from featx.results import ScoresResult
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
    assert float(rows[0]["p_value"]) == pytest.approx(1 / 91, rel=1e-3)
    flagged = int(scored.anomalous.sum())
    assert (
        f"{flagged} of 60 images lie below the threshold; if all were normal, about 3 would." in scored.advice
    )
    assert "more than chance gives (p < 0.001)" in scored.advice
    assert "uncertain: it flags 1.5 % to 10 % of new normal images" in scored.warnings[0]
    unit = [x.embeddings / np.linalg.norm(x.embeddings, axis=1, keepdims=True) for x in (bare, normal)]
    distances = 1 - unit[0] @ unit[1].T
    for shown in scored.shown:
        i, near = test.ids.index(shown["id"]), normal.ids.index(shown["normal"])
        assert (
            shown["distance"]
            == pytest.approx(distances[i].min(), abs=1e-6)
            == pytest.approx(distances[i, near], abs=1e-6)
        )
    assert [one["threshold"] for one in scored.shown].count(True) == 12
    same = find_anomalies(normal, normal.subset(range(30)))
    assert "Chance may give as many" in same.advice or "0 of 30" in same.advice


def test_images_that_belong_together_are_held_out_together():
    normal, test = blobs(90, 1, ("good",)), blobs(60, 2, ("good",))
    frames = Features(
        np.repeat(normal.embeddings, 4, axis=0),
        [f"{i}-{k}" for i in normal.ids for k in range(4)],
        groups=np.repeat(np.arange(90), 4),
        space=normal.space,
    )
    frames.embeddings += np.random.default_rng(0).normal(0, 1e-3, frames.embeddings.shape).astype(np.float32)
    grouped = find_anomalies(frames, test)
    assert (grouped.n_units, grouped.units["groups"]) == (90, True)
    assert grouped.anomalous.mean() < 0.15
    frames.groups = None
    assert find_anomalies(frames, test).anomalous.mean() > 0.9  # the next frame is always near
    # Copies need no groups.
    copied = normal.subset(np.arange(90))
    copied.embeddings = np.repeat(normal.embeddings[:45], 2, axis=0)
    assert find_anomalies(copied, test).units["copies"] == 45


def test_what_was_scored_can_be_read_and_says_what_is_uncertain(tmp_path):
    normal, test = blobs(9, 1, ("good",)), blobs(20, 2, ("good", "<b>broken"))
    scored = find_anomalies(normal, test, detector="mahalanobis")
    assert "9 normal images are too few for a threshold that flags 5 %" in scored.warnings[0]
    assert "flags about 10 %. Give 19 or more." in scored.warnings[0]
    report = scored.save(tmp_path).read_text(encoding="utf-8")
    assert "no preview" in report
    assert "--detectors mahalanobis --contamination 0.01 -o fewer" in report
    again = ScoresResult.read_json(tmp_path / "results.json")
    assert again.ids == scored.ids
    np.testing.assert_array_equal(again.decision, scored.decision)
    assert again.verdict() == scored.verdict()
    assert again.to_frame().columns.tolist() == ["id", "decision", "anomalous", "p_value"]
    content = again.to_dict()
    content["p_values"] = content["p_values"][1:]
    with pytest.raises(InputError, match="not one decision and one p-value for each of 20 images"):
        ScoresResult.from_dict(content)


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


def test_where_no_normal_image_can_be_held_out_nothing_is_said_of_chance(tmp_path):
    scored = find_anomalies(blobs().subset([0, 1, 2]), blobs(), detector="ocsvm")
    assert scored.anomalous.mean() > 0.9
    assert scored.chance is None
    assert "chance" not in scored.advice
    assert "would" not in scored.advice
    (warning,) = scored.warnings
    assert warning.startswith("3 normal images are too few to hold any out")
    assert "too few to hold one out" in scored.save(tmp_path / "out").read_text()
    alone = find_anomalies(blobs().subset([0, 1, 2]), blobs())
    assert alone.chance is not None, "distances to the others need no part that is held out"


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
        (lambda: find_anomalies(blobs().subset([0]), blobs()), DatasetError, "1 normal image to train on"),
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
    report = (tmp_path / "new" / "report.html").read_text()
    assert f"report: {tmp_path / 'new' / 'report.html'}" in out
    assert report.count("data:image/jpeg") >= 24  # each image and its nearest normal one
    assert f"featx anomaly {photos / 'sky'} {photos / 'leaf'}" in report
    assert json.loads((tmp_path / "new" / "scores.json").read_text())["dataset"]["source"][0].endswith("sky")
    many = ["--detectors", "knn", "ocsvm", *common, str(tmp_path / "none")]
    assert main(["anomaly", str(photos / "sky"), str(photos), *many]) == 2
    assert not (tmp_path / "none").exists()
    assert "--detectors takes one name to score inputs with" in capsys.readouterr().err
