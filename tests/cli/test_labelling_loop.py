"""From 60 photographs without a label to a model, by the command line."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from pictures import QUICK_OPTIONS, write_photos

from featx.cli import main


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """60 photographs in one folder, and what is in each; the folder around them is the working directory."""
    monkeypatch.chdir(tmp_path)
    truth = {}
    (tmp_path / "photos").mkdir()
    for i, file in enumerate(sorted(write_photos(tmp_path / "made", 20).rglob("*.png"))):
        name = f"{i * 37 % 60:02d} ä.png"
        shutil.move(file, tmp_path / "photos" / name)
        truth[f"photos/{name}"] = file.parent.name
    return truth


def read(text):
    """The rows of a table of labels, as a spreadsheet program opens it."""
    return list(csv.DictReader(text.lstrip("\ufeff").splitlines()))


def fill_in(file, truth, n, separator):
    """Label the first `n` rows, as a person does in a spreadsheet that saves semicolons; add a remark."""
    rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines(), delimiter=separator))
    for row in rows[:n]:
        assert row["label"] == ""
        row["label"] = truth[row["path"]]
    rows = [row | {"remark": "mine"} for row in rows]
    with open(file, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_60_photographs_without_a_label_become_a_model(photos, tmp_path, capsys):
    def run(*argv):
        assert main([*argv, "--quiet", *QUICK_OPTIONS]) == 0
        return capsys.readouterr().out

    table = tmp_path / "labels.csv"
    out = run("label", "photos", "-n", "9", "-o", "labels.csv")
    assert "labels.csv: 60 images, 0 with a label; to label next: its first 9 rows" in out
    assert "featx compare" not in out
    first = read(table.read_text(encoding="utf-8"))
    assert list(first[0]) == ["path", "label", "suggested", "confidence"]
    assert out.splitlines()[:9] == [row["path"] for row in first[:9]]
    assert {row["path"] for row in first} == set(photos)
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 9

    fill_in(table, photos, 9, ",")
    assert main(["label", "photos", "-n", "9", "-o", "labels.csv", *QUICK_OPTIONS]) == 0
    out, err = capsys.readouterr()
    assert "photos: 60 images; no labels\nlabels.csv: 9 labels filled in\n" in err
    assert "60 images, 9 with a label" in out
    assert "run this command again, or: featx compare labels.csv --backbone squeezenet1_1 --weights" in out
    text = table.read_text(encoding="utf-8-sig")
    assert text.startswith("path;label;suggested;confidence;remark\n")  # as the person's program writes it
    rows = list(csv.DictReader(text.splitlines(), delimiter=";"))
    kept = {row["path"]: row["label"] for row in rows if row["label"]}
    assert kept == {row["path"]: photos[row["path"]] for row in first[:9]}
    assert all(row["remark"] == "mine" for row in rows)
    suggested = [row for row in rows if not row["label"]]
    right = [row["suggested"] == photos[row["path"]] for row in suggested]
    assert sum(right) / len(right) > 0.9
    assert all(0 < float(row["confidence"]) <= 1 for row in suggested)
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert f"row 2: {rows[0]['suggested']}?" in page

    fill_in(table, photos, 15, ";")
    few = ["--classifiers", "lda", "--baseline", "none", "--no-checks"]
    out = run("compare", "labels.csv", "-o", "results", *few)
    assert "36 images have no label: neither trained nor tested on" in out
    results = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    assert results["dataset"]["n_train"] + results["dataset"]["n_test"] == 24
    assert results["dataset"]["n_unlabelled"] == 36
    assert results["forward_passes"] == 0
    assert "no label" in (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert main(["show", "results", "--method", "majority", "--limit", "1"]) == 0
    shown = capsys.readouterr().out.splitlines()[4]
    assert any(shown.startswith(path) for path in photos)

    out = run("train", "labels.csv", "-o", "model.featx")
    assert "logreg on 24 images, 3 classes" in out
    assert main(["predict", "model.featx", "photos", "--quiet"]) == 0
    predicted = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    hits = [row["label"] == photos[row["id"]] for row in predicted]
    assert len(hits) == 60
    assert sum(hits) > 54
    out = run("label", "labels.csv", "-n", "2", "--model", "model.featx")
    assert {line.split("  ")[0] for line in out.splitlines()[2:]} < set(photos)


def test_a_label_that_would_be_lost_is_named(photos, tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("path,label,suggested,confidence\nphotos/gone.png,sky,,\n")
    assert main(["label", "photos", "-o", "labels.csv", "--quiet", *QUICK_OPTIONS]) == 2
    err = capsys.readouterr().err
    assert "photos/gone.png has a label and is not in photos; put the image back, or remove the row" in err
    assert (tmp_path / "labels.csv").read_text().count("sky") == 1
    (tmp_path / "labels.csv").write_text("name,kind\n1,2\n")
    assert main(["label", "photos", "-o", "labels.csv", "--quiet"]) == 2
    assert "is not a labels file of featx" in capsys.readouterr().err
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.html").write_text("<p>my page</p>")
    assert main(["label", "photos", "-o", "labels.csv", "--quiet"]) == 2
    assert "is not a page file of featx" in capsys.readouterr().err
