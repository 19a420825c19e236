"""Outcomes of earlier runs: found for exactly the same work, and told under the names of this run."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import BACKBONE, QUICK, write_photos
from PIL import Image

from featx import compare, extract, learning_curve
from featx.comparison.bench import Bench
from featx.journal import Journal

SMALL = {key: value for key, value in QUICK.items() if key != "backbone"} | {"backbones": BACKBONE}
ONE = SMALL | {"classifiers": "lda", "baseline": "none", "n_boot": 20}
TUNED = SMALL | {"classifiers": "lda", "baseline": ["head", "last"], "epochs": 1, "n_boot": 20}


@pytest.fixture
def tuned(monkeypatch):
    """The modes that are trained, as they are."""
    met = []
    tune = Bench.fine_tuned

    def watched(self, modes, *rest, **more):
        met.extend(modes)
        return tune(self, modes, *rest, **more)

    monkeypatch.setattr(Bench, "fine_tuned", watched)
    return met


def table(place: Path, rows, columns=("path", "label", "split")) -> Path:
    with open(place, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return place


def wide(root: Path) -> Path:
    """Photos of which the middle third alone gets into an embedding."""
    write_photos(root, 6)
    for path in root.rglob("*.png"):
        middle = np.asarray(Image.open(path).resize((32, 32)))
        Image.fromarray(np.concatenate([np.zeros_like(middle), middle, np.zeros_like(middle)], 1)).save(path)
    return root


def paint(root: Path) -> None:
    """Another left edge, which no centre crop comes near."""
    for path in root.rglob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[:, :12] = 255
        Image.fromarray(pixels).save(path)


def test_the_same_rows_under_another_name_are_told_by_it(tmp_path):
    features = extract(write_photos(tmp_path / "photos", 8), **QUICK)
    compare(features, **ONE, resume=tmp_path / "out")
    space = features.space | {"backbone": features.space["backbone"] | {"architecture": "renamed"}}
    again = compare(replace(features, space=space), **ONE, resume=tmp_path / "out")
    assert [m.backbone for m in again.methods if m.kind == "probe"] == ["renamed"]


def test_an_outcome_found_twice_is_charged_with_its_extraction_once(tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 8)
    rows = [(p, p.parent.name, p.parent.name[0]) for p in sorted(photos.rglob("*.png"))]
    data = table(tmp_path / "t.csv", rows, ("path", "name", "letter"))
    kept = []
    add = Journal.add
    monkeypatch.setattr(Journal, "add", lambda *args: kept.append(add(*args)) or kept[-1])
    result = compare(data, label=["name", "letter"], **ONE, resume=tmp_path / "out")
    # The most frequent class, the pixels and one probe: the second task finds all of them.
    assert len(kept) == 3
    for task in result.tasks.values():
        seconds = task.methods[-1].seconds
        each = seconds["extract"] / 24
        assert each > 0
        assert seconds["predict_per_image"] == pytest.approx(kept[-1]["seconds"]["predict_per_image"] + each)


def test_a_classifier_that_is_named_twice_is_run_once(tmp_path):
    result = compare(write_photos(tmp_path / "photos", 8), **ONE | {"classifiers": ["lda", "lda"]})
    assert [m.name for m in result.methods] == ["majority", "pixels", "lda"]


def test_images_that_differ_where_only_random_crops_see_it_are_trained_on_anew(tmp_path, tuned):
    photos = wide(tmp_path / "photos")
    before = extract(photos, **QUICK).embeddings
    compare(photos, **TUNED, resume=tmp_path / "out")
    assert tuned == ["head", "last"]
    paint(photos)
    assert np.array_equal(extract(photos, **QUICK).embeddings, before)
    compare(photos, **TUNED, resume=tmp_path / "out")
    # The head sees nothing but embeddings.
    assert tuned == ["head", "last", "last"]


def test_images_in_other_places_get_other_crops_and_are_trained_on_anew(tmp_path, tuned):
    photos = write_photos(tmp_path / "photos", 8)
    rows = [(p, p.parent.name, "test" if p.stem > "005" else "train") for p in sorted(photos.rglob("*.png"))]
    parts = {part: [row for row in rows if row[2] == part] for part in ("train", "test")}
    compare(table(tmp_path / "a.csv", parts["train"] + parts["test"]), **TUNED, resume=tmp_path / "out")
    compare(table(tmp_path / "b.csv", parts["test"] + parts["train"]), **TUNED, resume=tmp_path / "out")
    assert tuned == ["head", "last", "last"]


@pytest.mark.parametrize(("augment", "found"), [(True, 1), (False, 2)])
def test_a_cell_with_random_crops_is_of_whole_images(tmp_path, augment, found):
    photos = wide(tmp_path / "photos")
    options = SMALL | {"classifiers": "lda", "baseline": "last", "epochs": 1, "shots": 2, "seeds": 1}
    learning_curve(photos, **options, augment=augment, resume=tmp_path / "out")
    paint(photos)
    # The raw pixels are those of the whole image.
    again = learning_curve(photos, **options, augment=augment, resume=tmp_path / "out")
    assert again.cells["resumed"] == found
