"""``featx show``: the wrong test images of a method."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from featx import compare
from featx.cli import main
from featx.cli.output import (
    NARROWEST,
    PLAIN_WIDTH,
    fit_first_column,
    show_experiment,
    text_in_line,
)
from featx.data.features import Features
from featx.data.tasks import Task


def run(capsys, *argv):
    status = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of results of classes and one of a number, from the same rows."""
    rng = np.random.default_rng(0)
    kinds = np.arange(80) % 2
    rows = (np.eye(2, 4)[kinds] + rng.normal(scale=0.8, size=(80, 4))).astype(np.float32)
    ids = [f"{i:02d}.png" for i in range(80)]
    features = Features(rows, ids, targets={"size": Task("size", rows[:, 0] + 0.0)}, labels=kinds)
    features.classes = ("ant", "bee")
    root = tmp_path_factory.mktemp("show")
    few = {"classifiers": ["lda", "knn"], "regressors": "ridge", "n_boot": 10, "checks": False}
    compare(features, **few).save(root / "both")
    (root / "old").mkdir()
    (root / "old" / "results.json").write_bytes((root / "both" / "label" / "results.json").read_bytes())
    return root


def test_the_wrong_images_of_the_recommended_method_are_listed(capsys, results):
    folder = results / "both" / "label"
    methods = json.loads((folder / "results.json").read_text())["methods"]
    by_name = {m["name"]: m for m in methods}
    status, out, _ = run(capsys, "show", folder, "--limit", 3)
    head, _, *lines = out.splitlines()
    name = head.split(":")[0]
    wrong = by_name[name]["mistakes"]
    n_wrong = round(20 * (1 - by_name[name]["metrics"]["top1"]["value"]))
    assert status == 0
    assert head == f"{name}: {n_wrong} of 20 test images are wrong, the most confident mistake first"
    assert lines[0].split() == ["image", "true", "predicted", "probability"]
    for line, mistake in zip(lines[2:5], wrong, strict=False):
        assert line.split()[:3] == [mistake["id"], mistake["true"], mistake["predicted"]]
    other = run(capsys, "show", folder, "--method", "majority", "--limit", 1)[1]
    assert "majority: 10 of 20 test images are wrong" in other
    assert other.endswith("\n9 more with --limit 10\n")


def test_numbers_are_listed_by_their_error(capsys, results):
    _, out, _ = run(capsys, "show", results / "both" / "size", "--method", "mean", "--limit", 20)
    head, _, titles, _, *lines = out.splitlines()
    assert head == "mean: 20 test images, the largest error first"
    assert titles.split() == ["image", "true", "predicted", "error"]
    errors = [abs(float(line.split()[-1])) for line in lines]
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == 20


def test_what_cannot_be_shown_is_one_line(capsys, results, tmp_path):
    def refused(*argv):
        status, _, err = run(capsys, "show", *argv)
        assert (status, len(err.splitlines())) == (2, 1)
        return err

    assert "give the folder of one: " in refused(results / "both")
    assert "there is no predictions.csv" in refused(results / "old")
    assert "there is no results.json" in refused(tmp_path)
    assert "did you mean majority?" in refused(results / "both" / "label", "--method", "majorit")


def test_names_in_the_files_of_somebody_else_move_no_line(capsys, results, tmp_path):
    """A name of a method, and of a folder in the next command, could pass for a line of featx."""
    for name in ("results.json", "predictions.csv"):
        text = (results / "both" / "label" / name).read_text()
        (tmp_path / name).write_text(text.replace("lda,", '"lda\nnext: evil",'))
    out = run(capsys, "show", tmp_path, "--method", "lda\nnext: evil")[1]
    assert out.startswith(r"lda\nnext: evil: ")
    result = SimpleNamespace(
        table=lambda width: "", verdict=lambda: "", next_steps=["a\nnext: evil"], failures=[]
    )
    show_experiment(SimpleNamespace(profile=False), (result, None))
    assert r"next: a\nnext: evil" in capsys.readouterr().out.splitlines()


@pytest.fixture(scope="module")
def results_of_texts(tmp_path_factory):
    """A folder of results on texts, which are long and hold what moves a cursor."""
    rng = np.random.default_rng(0)
    kinds = np.arange(80) % 2
    rows = (np.eye(2, 4)[kinds] + rng.normal(scale=0.8, size=(80, 4))).astype(np.float32)
    space = {"backbone": {"architecture": "net"}, "preprocessing": {"kind": "text"}}
    features = Features(rows, [f"{i}" for i in range(80)], kinds, ("ant", "bee"), space=space)
    found = compare(features, classifiers=["lda"], n_boot=10, checks=False)
    found.test_predictions = replace(
        found.test_predictions, texts=["\x1b[2J it\nwas " + 60 * "long " for _ in found.test_predictions.ids]
    )
    folder = tmp_path_factory.mktemp("texts")
    found.save(folder)
    return folder


def test_mistakes_on_texts_are_sentences_on_one_line(capsys, results_of_texts):
    status, out, _ = run(capsys, "show", results_of_texts, "--limit", 2)
    head, _, names, _, first, *_ = out.splitlines()
    assert status == 0
    assert re.fullmatch(r"lda: \d+ of 20 test texts are wrong, the most confident mistake first", head)
    assert names.split() == ["text", "id", "true", "predicted", "probability"]
    assert first.startswith("\\x1b[2J it\\nwas long long")
    assert len(first) == PLAIN_WIDTH
    assert "…  " in first


def test_a_text_takes_what_is_left_of_a_line(monkeypatch):
    monkeypatch.setattr("featx.cli.output.terminal_width", lambda: 60)
    lines = [["text", "label"], ["a" * 200, "good"], ["short", "bad"]]
    assert [row[0] for row in fit_first_column(lines)] == ["text", "a" * 52 + "…", "short"]
    assert text_in_line("one\ttwo\n three \u202e") == "one two three \\u202e"
    assert len(text_in_line("b" * 200, taken=55)) == NARROWEST
