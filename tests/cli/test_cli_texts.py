"""``featx train`` and ``featx predict`` on texts: tables, files, folders and standard input."""

from __future__ import annotations

import csv
import io
import json

import pytest
from texts import reviews, write_bert

from featx.cli import main
from featx.cli.commands import predict
from featx.estimators.model import Prediction
from featx.methods.abstention import UNLIKE

OPTIONS = ["--engine", "torch", "--precision", "fp32"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with ``reviews.csv`` and ``m.featx``, which was trained on it from the command line."""
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("texts")
    bert = write_bert(root / "bert")
    with open(root / "reviews.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "review", "label"])
        rows.writerows([i, *row] for i, row in enumerate(zip(*reviews(8), strict=True)))
    command = ["train", str(root / "reviews.csv"), "--text", "review", "-o", str(root / "m.featx")]
    command += ["--backbone", f"hf:{bert}", "--cache", str(root / "cache"), *OPTIONS]
    assert main(command) in (0, None)
    return root


def rows_of(capsys):
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_training_says_how_many_texts(saved, capsys):
    command = ["train", str(saved / "reviews.csv"), "--text", "review", "-o", str(saved / "again.featx")]
    main([*command, "--backbone", f"hf:{saved / 'bert'}", "--cache", str(saved / "cache"), *OPTIONS])
    assert "again.featx: logreg on 16 texts, 2 classes" in capsys.readouterr().out


def test_a_table_is_predicted_row_by_row(saved, capsys, monkeypatch):
    # All rows are in the cache, so no network is loaded.
    monkeypatch.setattr(
        "featx.estimators.model.embedding.matching_embedder", lambda *a, **k: pytest.fail("loaded")
    )
    main(
        [
            "predict",
            str(saved / "m.featx"),
            str(saved / "reviews.csv"),
            "--text",
            "review",
            "--cache",
            str(saved / "cache"),
        ]
    )
    rows = rows_of(capsys)
    assert list(rows[0])[:4] == ["id", "text", "label", "probability"]
    assert [row["text"] for row in rows] == reviews(8)[0]
    assert {row["label"] for row in rows} == {"liked", "disliked"}


def test_files_folders_and_lines_are_texts(saved, tmp_path, capsys, monkeypatch):
    texts, _ = reviews(2)
    (tmp_path / "new").mkdir()
    for i, text in enumerate(texts[:3]):
        (tmp_path / "new" / f"{i}.txt").write_text(text, encoding="utf-8")
    one = tmp_path / "new" / "1.txt"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{texts[0]}\n\n{texts[3]}\n"))
    main(["predict", str(saved / "m.featx"), str(one), str(tmp_path / "new"), "-", *OPTIONS[:2]])
    rows = rows_of(capsys)
    folder = [str(tmp_path / "new" / f"{i}.txt") for i in (0, 2)]
    assert [row["id"] for row in rows] == [str(one), *folder, "line 1", "line 3"]
    assert [row["text"] for row in rows] == ["", "", "", texts[0], texts[3]]
    assert rows[1]["label"] == rows[3]["label"]
    assert rows[1]["probability"] == rows[3]["probability"]


def test_what_cannot_be_predicted_is_one_line(saved, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n"))
    assert main(["predict", str(saved / "m.featx"), "-"]) == 2
    assert "no texts: standard input has no line with a text" in capsys.readouterr().err
    assert main(["predict", str(saved / "m.featx"), "nowhere.csv"]) == 2
    said = capsys.readouterr().err
    assert "nowhere.csv: no such file or folder; " in said
    assert "to go on without such texts" in said


def test_texts_that_are_skipped_are_called_texts(saved, tmp_path, capsys):
    empty, good = tmp_path / "empty.txt", tmp_path / "good.txt"
    empty.write_text(" ", encoding="utf-8")
    good.write_text(reviews(1)[0][0], encoding="utf-8")
    command = ["predict", str(saved / "m.featx"), str(empty), str(good), "--on-error", "skip", *OPTIONS[:2]]
    assert main(command) in (0, None)
    assert "1 text could not be read and was skipped" in capsys.readouterr().err


ANSWERS = [
    Prediction("line 1", "liked", 0.97, {"liked": 0.97}, False, text="a warm\nand funny film"),
    Prediction("line 2", "liked", 0.6, {"liked": 0.6}, True, UNLIKE, text="x" * 100),
    Prediction("a.txt", "liked", 0.9, {"liked": 0.9}, None),
]


def test_a_text_stands_behind_its_answer():
    first, second, third = predict.formatted(ANSWERS, "text").splitlines()
    assert first == 'line 1: liked 0.97  "a warm and funny film"'
    assert second.startswith('line 2: unsure (liked 0.60; unlike the training images)  "xxx')
    assert len(second) < 150
    assert third == "a.txt: liked 0.90"


def test_programs_get_whole_texts():
    rows = list(csv.DictReader(io.StringIO(predict.formatted(ANSWERS, "csv"))))
    assert list(rows[0]) == ["id", "text", "label", "probability", "unsure", "reason", "p(liked)"]
    assert rows[0]["text"] == "a warm\\nand funny film"  # one line in any spreadsheet; exact as JSON
    records = [json.loads(line) for line in predict.formatted(ANSWERS, "jsonl").splitlines()]
    assert [record["text"] for record in records] == [ANSWERS[0].text, ANSWERS[1].text, None]
    assert predict._summary("a.csv", ANSWERS, "text") == "a.csv: 3 texts, 1 unsure"


def test_a_comparison_shows_the_texts_it_got_wrong(saved, tmp_path, capsys):
    texts, labels = reviews(20)
    labels[0], labels[1] = labels[1], labels[0]
    table = tmp_path / "more.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("review", "label"), *zip(texts, labels, strict=True)])
    command = ["compare", str(table), "--text", "review", "--backbone", f"hf:{saved / 'bert'}", *OPTIONS]
    command += ["--classifiers", "knn", "lda", "--baseline", "none", "--cache", str(saved / "cache")]
    assert main([*command, "-o", str(tmp_path / "out")]) in (0, None)
    said = capsys.readouterr().out
    assert "30 training and 10 test texts" in said
    assert "ms/text" in said
    assert "image" not in said.replace(str(tmp_path), "")
    with open(tmp_path / "out" / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert {row["text"] for row in rows} <= set(texts)
    assert main(["show", str(tmp_path / "out"), "--method", "majority"]) in (0, None)
    listed = capsys.readouterr().out
    wrong = [row["text"] for row in rows if row["majority"] != row["true"]]
    assert "of 10 test texts are wrong" in listed
    assert all(text in listed for text in wrong)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "10 test texts" in page
    assert "no text at hand" not in page
