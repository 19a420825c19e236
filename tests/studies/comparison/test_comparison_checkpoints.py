"""Outcomes of earlier runs are found for exactly the same work only, and the result says so."""

from __future__ import annotations

import csv
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import BACKBONE, QUICK, write_photos
from PIL import Image

from featx import Features, compare, extract, learning_curve
from featx.cli import main
from featx.methods.probes import CLASSIFIERS
from featx.results import ComparisonResult, CurveResult
from featx.studies.checkpoints import Checkpoints, _Arrays, _encoded
from featx.studies.comparison.evaluate import CHECKPOINT_FILE
from featx.studies.evaluation import cells

SMALL = {key: value for key, value in QUICK.items() if key != "backbone"} | {"backbones": BACKBONE}
ONE = SMALL | {"classifiers": "lda", "baseline": "none", "n_boot": 20}
STORED = {"classifiers": "lda", "baseline": "none", "n_boot": 20}
TUNED = SMALL | {"classifiers": "lda", "baseline": ["head", "last"], "epochs": 1, "n_boot": 20}


@pytest.fixture
def run(monkeypatch):
    """The methods that are run, in order."""
    met = []
    work = cells.Cell.run

    def watched(cell, **options):
        met.append(cell.method.name)
        return work(cell, **options)

    monkeypatch.setattr(cells.Cell, "run", watched)
    return met


@pytest.fixture
def tuned(run):
    """The fine-tuning modes that are trained, in order."""
    return lambda: [name.removeprefix("finetune-") for name in run if name.startswith("finetune-")]


def table(place: Path, rows, columns=("path", "label", "split")) -> Path:
    with open(place, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return place


def wide(root: Path) -> Path:
    """Photos of which only the middle third reaches an embedding."""
    write_photos(root, 6)
    for path in root.rglob("*.png"):
        middle = np.asarray(Image.open(path).resize((32, 32)))
        Image.fromarray(np.concatenate([np.zeros_like(middle), middle, np.zeros_like(middle)], 1)).save(path)
    return root


def paint(root: Path) -> None:
    """Change the left edge, which no centre crop contains."""
    for path in root.rglob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[:, :12] = 255
        Image.fromarray(pixels).save(path)


def test_the_same_rows_under_another_name_are_told_by_it(tmp_path):
    features = extract(write_photos(tmp_path / "photos", 8), **QUICK)
    compare(features, **STORED, resume=tmp_path / "out")
    space = features.space | {"backbone": features.space["backbone"] | {"architecture": "renamed"}}
    again = compare(replace(features, space=space), **STORED, resume=tmp_path / "out")
    assert [m.backbone for m in again.methods if m.kind == "probe"] == ["renamed"]


def test_an_outcome_found_twice_is_charged_with_its_extraction_once(tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 8)
    rows = [(p, p.parent.name, p.parent.name[0]) for p in sorted(photos.rglob("*.png"))]
    data = table(tmp_path / "t.csv", rows, ("path", "name", "letter"))
    records = []
    add = Checkpoints.add
    monkeypatch.setattr(Checkpoints, "add", lambda *args: records.append(add(*args)) or records[-1])
    result = compare(data, label=["name", "letter"], **ONE, checks=False, resume=tmp_path / "out")
    # The most frequent class, the pixels and one probe: the second task finds all of them.
    assert len(records) == 3
    for task in result.tasks.values():
        seconds = task.methods[-1].seconds
        each = seconds["extract"] / 24
        assert each > 0
        assert seconds["predict_per_image"] == pytest.approx(
            records[-1]["seconds"]["predict_per_image"] + each
        )


def test_a_classifier_that_is_named_twice_is_run_once(tmp_path):
    result = compare(write_photos(tmp_path / "photos", 8), **ONE | {"classifiers": ["lda", "lda"]})
    assert [m.name for m in result.methods] == ["majority", "pixels", "lda"]


def test_images_that_differ_where_only_random_crops_see_it_are_trained_on_anew(tmp_path, tuned):
    photos = wide(tmp_path / "photos")
    before = extract(photos, **QUICK).embeddings
    compare(photos, **TUNED, resume=tmp_path / "out")
    assert tuned() == ["head", "last"]
    paint(photos)
    assert np.array_equal(extract(photos, **QUICK).embeddings, before)
    compare(photos, **TUNED, resume=tmp_path / "out")
    # The head sees nothing but embeddings.
    assert tuned() == ["head", "last", "last"]


def test_images_in_other_places_get_other_crops_and_are_trained_on_anew(tmp_path, tuned):
    photos = write_photos(tmp_path / "photos", 8)
    rows = [(p, p.parent.name, "test" if p.stem > "005" else "train") for p in sorted(photos.rglob("*.png"))]
    parts = {part: [row for row in rows if row[2] == part] for part in ("train", "test")}
    compare(table(tmp_path / "a.csv", parts["train"] + parts["test"]), **TUNED, resume=tmp_path / "out")
    compare(table(tmp_path / "b.csv", parts["test"] + parts["train"]), **TUNED, resume=tmp_path / "out")
    assert tuned() == ["head", "last", "last"]


@pytest.mark.parametrize(("augment", "found"), [(True, 1), (False, 2)])
def test_a_cell_with_random_crops_is_of_whole_images(tmp_path, augment, found):
    photos = wide(tmp_path / "photos")
    options = SMALL | {"classifiers": "lda", "baseline": "last", "epochs": 1, "shots": 2, "seeds": 1}
    learning_curve(photos, **options, augment=augment, resume=tmp_path / "out")
    paint(photos)
    # The raw pixels are those of the whole image.
    again = learning_curve(photos, **options, augment=augment, resume=tmp_path / "out")
    assert again.cells["resumed"] == found


@pytest.fixture(scope="module")
def rows():
    """Embeddings of three classes, without images."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    centres = rng.normal(size=(3, 8))
    return Features(
        embeddings=(centres[labels] + rng.normal(size=(36, 8))).astype(np.float32),
        ids=[f"{i}.png" for i in range(36)],
        labels=labels,
        classes=("a", "b", "c"),
        space={"backbone": {"architecture": "made"}},
    )


@pytest.fixture
def fitted(run, monkeypatch):
    """The methods that are fitted, in order, without checks of the data."""
    monkeypatch.setattr("featx.studies.comparison.classes.examine", lambda *_: {"notes": []})
    return run


KEPT = {"classifiers": ["lda", "ridge"], "baseline": "none", "n_boot": 5}


def changed(name, grid=None, **settings):
    """A probe of the registry with another grid, or another parameter of a step."""
    probe = CLASSIFIERS[name]

    def build(task):
        estimator, own = probe.build(task)
        return estimator.set_params(**settings), own if grid is None else grid

    return replace(probe, build=build)


def test_a_method_is_found_by_its_definition_and_not_by_its_name(rows, fitted, tmp_path, monkeypatch):
    first = compare(rows, **KEPT, resume=tmp_path)
    assert fitted == ["majority", "lda", "ridge"]
    for probe in (changed("lda", grid={"lda__shrinkage": [0.7, 0.2]}), changed("lda", scale__with_std=False)):
        fitted.clear()
        with monkeypatch.context() as patch:
            patch.setitem(CLASSIFIERS, "lda", probe)
            result = compare(rows, **KEPT, resume=tmp_path)
            assert fitted == ["lda"]
            assert [m.name for m in result.methods if m.earlier_run] == ["majority", "ridge"]
            compare(rows, **KEPT, resume=tmp_path)
            assert fitted == ["lda"]
    fitted.clear()
    again = compare(rows, **KEPT, resume=tmp_path)
    assert fitted == []
    assert [m.metrics for m in again.methods] == [m.metrics for m in first.methods]


def test_another_version_of_a_package_is_other_work(rows, fitted, earlier, tmp_path, monkeypatch):
    (tmp_path / CHECKPOINT_FILE).write_bytes(earlier[0])
    version = cells.installed_version
    for package in ("scikit-learn", "numpy", "scipy"):
        fitted.clear()
        with monkeypatch.context() as patch:
            patch.setattr(cells, "installed_version", lambda p, one=package: "0" if p == one else version(p))
            compare(rows, **KEPT | {"classifiers": "lda"}, resume=tmp_path)
        assert fitted == ["majority", "lda"]


def test_what_came_from_an_earlier_run_is_marked_everywhere(rows, fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows.save("f.h5")
    command = ["compare", "f.h5", "-o", "out", "--classifiers", "lda", "--quiet"]
    assert main(command) == 0
    first = json.loads(Path("out/results.json").read_text())
    assert [m["earlier_run"] for m in first["methods"]] == [None, None]
    assert main([*command[:-1], "ridge", "--quiet"]) == 0
    said = f"2 of 3 methods were taken from an earlier run in out{os.sep} ({first['created'][:10]}); delete"
    result = json.loads(Path("out/results.json").read_text())
    made = {m["name"]: m["earlier_run"] for m in result["methods"]}
    assert made["ridge"] is None
    assert made["lda"][:10] == made["majority"][:10] == first["created"][:10]
    assert any(said in warning for warning in result["warnings"])
    assert said in Path("out/report.html").read_text()
    assert f"Computed by an earlier run, {made['lda']}" in Path("out/report.html").read_text()
    with open("out/results.csv", newline="") as file:
        assert {row["name"]: row["earlier_run"] or None for row in csv.DictReader(file)} == made
    assert ComparisonResult.read_json("out/results.json").to_dict() == result


def test_one_line_on_the_terminal_says_it(rows, fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows.save("f.h5")
    command = ["compare", "f.h5", "-o", "out", "--classifiers", "lda", "--quiet"]
    assert main(command) == 0
    assert "earlier run" not in capsys.readouterr().out
    assert main(command) == 0
    told = capsys.readouterr().out.splitlines()
    lines = [text for text in told if "earlier run" in text and "search for copies" not in text]
    assert len(lines) == 1
    assert lines[0].startswith("note: 2 of 2 methods were taken from an earlier run in out")
    assert lines[0].endswith(f"delete out{os.sep}methods.journal to compute them again")


def test_of_several_splits_every_fit_is_counted(rows, fitted, tmp_path):
    options = KEPT | {"classifiers": "lda"}
    compare(rows, **options, resume=tmp_path)
    result = compare(rows, **options, seeds=2, resume=tmp_path)
    (said,) = [w for w in result.warnings if "earlier run" in w]
    assert said.startswith("2 of 4 fits (2 methods on 2 splits) were taken")
    assert [[made is not None for made in m.earlier_run] for m in result.repeats.methods] == [
        [True, False]
    ] * 2


@pytest.fixture(scope="module")
def earlier(rows, tmp_path_factory):
    """What a run with one probe leaves in its checkpoints, and its numbers."""
    place = tmp_path_factory.mktemp("earlier")
    result = compare(rows, **KEPT | {"classifiers": "lda"}, resume=place)
    return (place / CHECKPOINT_FILE).read_bytes(), [m.metrics for m in result.methods]


def forged(content, change):
    """The same file with every outcome changed, under the same keys and with right checksums."""
    made = b""
    for record in content.splitlines():
        _, _, key, time, text = record.split(b" ", 4)
        outcome = json.loads(text, object_hook=_Arrays(None).decoded)
        text = json.dumps(change(outcome) or outcome, default=_encoded).encode()
        covered = b"%s %s %s" % (key, time, text)
        made += b"2 %08x %s\n" % (zlib.crc32(covered), covered)
    return made


FORGED = {
    "labels beyond the classes": lambda o: o.update(labels=o["labels"] + 3),
    "negative labels": lambda o: o.update(labels=o["labels"] - 5),
    "labels of other images": lambda o: o.update(labels=o["labels"][:-1]),
    "labels as numbers with a point": lambda o: o.update(labels=o["labels"].astype(float)),
    "labels as a list": lambda o: o.update(labels=o["labels"].tolist()),
    "not finite": lambda o: o.update(sure=o["sure"] * np.nan),
    "above 1": lambda o: o.update(sure=o["sure"] + 1),
    "below 0": lambda o: o.update(true=-o["true"]),
    "not the most probable": lambda o: o.update(sure=o["sure"] * 0.01, true=o["true"] * 0.01),
    "all right with little": lambda o: o.update(labels=o["labels"] * 0),
    "another shape": lambda o: o.update(true=o["true"][:, None]),
    "notes no texts": lambda o: o.update(notes=[1]),
    "no notes": lambda o: {k: v for k, v in o.items() if k != "notes"},
    "no seconds": lambda o: o.update(seconds={}),
    "seconds unknown": lambda o: o["seconds"].update(predict_per_image=None),
    "no score": lambda o: {k: v for k, v in o.items() if k != "cv_score"},
    "score beyond numbers": lambda o: o.update(cv_score=10**400),
    "curves of texts": lambda o: o.update(curves={"epoch": [1], "train_loss": ["x"]}),
    "curves of two lengths": lambda o: o.update(curves={"epoch": [1], "train_loss": [0.5, 0.25]}),
    "seconds a text": lambda o: o.update(seconds={"fit": "x"}),
    "score a text": lambda o: o.update(cv_score="x"),
    "score not finite": lambda o: o.update(cv_score=float("nan")),
    "curves a number": lambda o: o.update(curves=3),
    "a list": lambda o: [1],
}


@pytest.mark.parametrize("what", FORGED)
def test_an_outcome_that_cannot_be_one_is_computed_again(rows, fitted, earlier, tmp_path, what):
    content, metrics = earlier
    (tmp_path / CHECKPOINT_FILE).write_bytes(forged(content, FORGED[what]))
    again = compare(rows, **KEPT | {"classifiers": "lda"}, resume=tmp_path)
    assert "lda" in fitted
    assert [m.metrics for m in again.methods] == metrics
    (said,) = [w for w in again.warnings if "damaged" in w]
    assert str(len(fitted)) in said


def test_a_cell_of_a_curve_is_found_by_its_definition(rows, tmp_path, monkeypatch):
    options = {"classifiers": ["lda", "ridge"], "shots": [2, "all"], "seeds": 2}
    first = learning_curve(rows, **options, resume=tmp_path)
    assert first.cells == {"computed": 8, "resumed": 0}
    with monkeypatch.context() as patch:
        patch.setitem(CLASSIFIERS, "lda", changed("lda", scale__with_std=False))
        other = learning_curve(rows, **options, resume=tmp_path)
        assert other.cells == {"computed": 4, "resumed": 4}
        assert {d.method for d in other.draws if d.earlier_run} == {"ridge"}
    assert any(w.startswith("4 of 8 cells (method, shots, draw) were taken") for w in other.warnings)
    other.save(tmp_path)
    assert "4 of 8 cells" in (tmp_path / "report.html").read_text()
    with open(tmp_path / "curve.csv", newline="") as file:
        assert {row["method"]: row["n_earlier"] for row in csv.DictReader(file)} == {"lda": "0", "ridge": "2"}
    assert CurveResult.read_json(tmp_path / "curve.json").draws == other.draws
    again = learning_curve(rows, **options, resume=tmp_path)
    assert again.cells == {"computed": 0, "resumed": 8}
    assert [d.metrics for d in again.draws] == [d.metrics for d in first.draws]


@pytest.mark.parametrize(
    "change",
    [
        lambda o: o.update(labels=o["labels"][:-1]),
        lambda o: o.update(sure=o["sure"] + 1),
        lambda o: o.update(true=o["labels"]),
        lambda o: {k: v for k, v in o.items() if k != "true"},
        lambda o: o.update(more=1),
        lambda o: o.update(seconds={}),
        lambda o: o.update(params=[]),
        lambda o: 7,
    ],
)
def test_a_cell_that_cannot_be_one_is_computed_again(rows, tmp_path, change):
    options = {"classifiers": "lda", "shots": 2, "seeds": 1}
    first = learning_curve(rows, **options, resume=tmp_path)
    file = tmp_path / "cells.journal"
    file.write_bytes(forged(file.read_bytes(), change))
    again = learning_curve(rows, **options, resume=tmp_path)
    assert again.cells == {"computed": 1, "resumed": 0}
    assert again.draws[0].metrics == first.draws[0].metrics
    assert any("damaged" in warning for warning in again.warnings)
