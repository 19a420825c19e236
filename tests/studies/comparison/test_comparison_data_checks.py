"""A comparison reports test images among the training images, and labels that look wrong."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from pictures import BACKBONE
from PIL import Image

from featx import compare, extract, learning_curve
from featx.results import ComparisonResult
from featx.studies import units
from featx.studies.comparison import data_checks

OPTIONS = {
    "backbones": BACKBONE,
    "weights": None,
    "image_size": 32,
    "engine": "torch",
    "precision": "fp32",
    "n_boot": 20,
    "baseline": "none",
    "classifiers": ["lda"],
}
CLASSES = {"red": (0, 1, 1), "green": (1, 0, 1), "blue": (1, 1, 0)}


def scene(seed: int, weak: tuple[int, int, int]) -> Image.Image:
    """A smooth random picture of one hue."""
    grid = np.random.default_rng(seed).integers(0, 256, (5, 6, 1)) * np.ones(3)
    grid = (grid * np.where(np.array(weak) == 1, 0.0, 1.0)).astype(np.uint8)
    return Image.fromarray(grid).resize((60, 48), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """20 and 8 images per class: two test images are copies, one image has a wrong label, one has two."""
    root = tmp_path_factory.mktemp("hygiene") / "data"
    for k, (name, weak) in enumerate(CLASSES.items()):
        for part, n in (("train", 20), ("test", 8)):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                scene(1000 * k + i + (500 if part == "test" else 0), weak).save(
                    root / part / name / f"{i}.png"
                )
    scene(3, CLASSES["red"]).resize((44, 36), Image.Resampling.BICUBIC).save(root / "test/red/small.png")
    shutil.copy(root / "train/green/4.png", root / "test/green/copy.png")
    shutil.copy(root / "train/blue/5.png", root / "train/green/twice.png")
    scene(9000, CLASSES["red"]).save(root / "train/blue/wrong.png")
    return root


def knowing(embeddings, y, train, test, **options):
    """Probabilities of a model that is right except for one image: the last blue one in train."""
    p = np.full((len(y), 3), 0.05)
    p[np.arange(len(y)), y] = 0.9
    wrong = train[y[train] == 0].max()
    p[wrong] = 0.03, 0.02, 0.95
    return p


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_checks, "predict_out_of_sample", knowing)
        return compare(data, **OPTIONS, cache=tmp_path_factory.mktemp("cache"))


def test_leaks_are_named_with_what_they_change(result):
    leaks = result.hygiene["leaks"]
    assert {(pair["test"], pair["train"], pair["kind"]) for pair in leaks["pairs"]} == {
        ("test/green/copy.png", "train/green/4.png", "identical"),
        ("test/red/small.png", "train/red/3.png", "same"),
    }
    assert leaks["test_images"] == 2
    assert leaks["share"] == pytest.approx(2 / 26)
    for entry, method in zip(leaks["top1"], result.methods, strict=True):
        assert entry["all"] == pytest.approx(method.top1)
        right = round(method.top1 * 26)
        assert entry["without"] * 24 == pytest.approx(round(entry["without"] * 24))
        assert 0 <= right - round(entry["without"] * 24) <= 2


def test_a_picture_with_two_labels_is_a_finding_of_its_own(result):
    (picture,) = result.hygiene["two_labels"]["list"]
    assert {(image["id"], image["label"], image["part"]) for image in picture} == {
        ("train/blue/5.png", "blue", "train"),
        ("train/green/twice.png", "green", "train"),
    }
    assert result.hygiene["copies_in_train"] == 1


def test_a_wrong_label_is_among_the_likely_ones(result):
    errors = result.hygiene["label_errors"]
    assert errors["images"] == 1
    assert errors["agreement"] == pytest.approx(87 / 88)
    assert errors["list"] == [
        {
            "id": "train/blue/wrong.png",
            "part": "train",
            "given": "blue",
            "suggested": "red",
            "confidence": pytest.approx(0.95),
            "self_confidence": pytest.approx(0.03),
        }
    ]


def test_leaks_are_a_warning_and_the_rest_a_line(result):
    assert result.warnings[0].startswith("2 of 26 test images (7.7 %) are pictures that were trained on")
    (line,) = result.findings
    assert line.startswith("1 picture with two labels and 1 label that looks wrong: see")


def test_the_file_holds_it_and_gives_it_back(result, tmp_path):
    result.write_json(tmp_path / "results.json")
    again = ComparisonResult.read_json(tmp_path / "results.json")
    assert again.hygiene == json.loads(json.dumps(result.hygiene))
    assert again.findings == result.findings


def test_the_report_shows_both_pictures_of_a_pair(result, tmp_path):
    html = result.save(tmp_path).read_text(encoding="utf-8")
    section = html[html.index("Leaks and labels</h2>") :]
    for id in ("test/red/small.png", "train/red/3.png", "train/green/twice.png", "train/blue/wrong.png"):
        assert f'<img alt="{id}"' in section


def test_from_a_features_file_embeddings_decide_and_it_says_so(data, tmp_path):
    network = {key: OPTIONS[key] for key in ("weights", "image_size", "engine", "precision")}
    features = extract(data, backbone=BACKBONE, **network)
    result = compare(features, classifiers="lda", n_boot=20)
    assert not result.hygiene["hashed"]
    assert result.hygiene["leaks"]["pairs"][-1] == {
        "test": "test/green/copy.png",
        "train": "train/green/4.png",
        "kind": "identical",
        "distance": 0.0,
        "bits": None,
    }
    said = "looks, by its embedding alone, like a picture that was trained on; without it"
    assert said in result.warnings[0]
    report = result.save(tmp_path).read_text(encoding="utf-8")
    assert "From embeddings alone" in report


def test_of_more_images_than_all_pairs_are_affordable_of_equal_ones_are_found(data, monkeypatch, tmp_path):
    monkeypatch.setattr(units, "MOST_IMAGES", 10)
    monkeypatch.setattr(data_checks, "MOST_PROBABILITIES", 10)
    result = compare(data, **OPTIONS)
    assert [pair["test"] for pair in result.hygiene["leaks"]["pairs"]] == ["test/green/copy.png"]
    assert any("because there are more than 10 images" in note for note in result.findings)
    assert any("wrong labels were not looked for" in note for note in result.findings)
    assert result.hygiene["label_errors"] is None
    assert "Leaks and labels</h2>" in result.save(tmp_path).read_text(encoding="utf-8")


def test_names_are_escaped_in_the_report(comparison_with_script):
    from featx.report import render

    html = render(comparison_with_script)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.fixture
def comparison_with_script(result):
    hostile = "<script>alert(1)</script>"
    content = result.to_dict()
    content["hygiene"]["leaks"]["pairs"][0]["test"] = hostile
    content["hygiene"]["two_labels"]["list"][0][0]["label"] = hostile
    content["hygiene"]["label_errors"]["list"][0]["suggested"] = hostile
    return ComparisonResult.from_dict(json.loads(json.dumps(content)))


@pytest.fixture(scope="module")
def file(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("features")
    options = {name: OPTIONS[name] for name in ("weights", "image_size", "engine", "precision")}
    return extract(data, backbone=BACKBONE, **options, cache=root / "cache")


@pytest.fixture
def no_checks(monkeypatch):
    def refused(*args, **options):
        raise AssertionError("checked")

    for place in (
        "featx.analysis.data_checks.find_near_duplicates",
        f"{data_checks.__name__}.predict_out_of_sample",
    ):
        monkeypatch.setattr(place, refused)


def test_a_second_study_of_the_same_rows_takes_the_checks_from_the_first(file, tmp_path, request):
    options = {"classifiers": ["lda"], "n_boot": 20, "cache": tmp_path}
    first = compare(file, **options)
    request.getfixturevalue("no_checks")
    again = compare(file, **{**options, "classifiers": ["ridge"]})
    assert first.hygiene["earlier_run"] is None
    assert again.hygiene["earlier_run"] is not None
    assert again.hygiene["label_errors"] == first.hygiene["label_errors"]
    assert again.hygiene["alike"] == first.hygiene["alike"]
    assert again.units == first.units
    assert "taken from an earlier run" in again.table()
    assert "data checks: " in first.table()
    assert "taken from an earlier run" not in first.table()


def test_without_checks_nothing_is_searched_for_and_the_result_says_so(file, tmp_path, no_checks):
    result = compare(file, classifiers=["lda"], n_boot=20, cache=tmp_path, checks=False)
    assert result.units["copies"] is None
    assert result.warnings[0] == units.unchecked()
    assert result.findings == []
    assert result.hygiene == {"checked": False, "notes": [units.unchecked()]}
    assert result.table().endswith("data checks: none")
    result.save(tmp_path / "out")
    assert "Data checks: none." in (tmp_path / "out" / "report.html").read_text()
    again = ComparisonResult.read_json(tmp_path / "out" / "results.json")
    assert again.hygiene == result.hygiene


def test_a_curve_finds_the_copies_of_a_comparison(file, tmp_path, request):
    compare(file, classifiers=["lda"], n_boot=20, cache=tmp_path)
    request.getfixturevalue("no_checks")
    options = {"classifiers": ["lda"], "shots": [5], "seeds": 2, "cache": tmp_path}
    assert learning_curve(file, **options).units["copies"] is not None
    unchecked = learning_curve(file, **options, checks=False)
    assert unchecked.units["copies"] is None
    assert units.unchecked() in unchecked.warnings
