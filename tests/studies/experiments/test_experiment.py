"""Experiment files: strict, complete, run again from their folder, and no work done twice."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from pictures import BACKBONE, write_photos

from featx.cli import main
from featx.errors import DatasetError, InputError, UnknownName
from featx.results import CurveResult
from featx.studies.evaluation import cells
from featx.studies.experiments import load_experiment, parse_experiment

NETWORK = f"""
[network]
backbones = "{BACKBONE}"
weights = "random"
image_size = 32
precision = "fp32"

[run]
engine = "torch"
"""
CURVE = (
    """
[experiment]
kind = "curve"
output = "out"

[data]
source = "photos"

[methods]
classifiers = ["lda", "naive-bayes"]
baseline = ["none"]

[draws]
shots = [1, 3, "all"]
seeds = 2
"""
    + NETWORK
)
COMPARE = CURVE.replace('"curve"', '"compare"').replace(
    CURVE[CURVE.index("[draws]") : CURVE.index("[net")], ""
)


@pytest.fixture
def place(tmp_path):
    write_photos(tmp_path / "photos", 8)
    return tmp_path


def written(place, text, name="e.toml"):
    (place / name).write_text(text)
    return place / name


def numbers(folder):
    """Every cell of a saved curve, as text."""
    return json.dumps([[d.method, d.shots, d.draw, d.metrics] for d in CurveResult.read_json(folder).draws])


def test_a_mark_of_utf_8_at_the_beginning_is_ignored(tmp_path):
    """Some editors on Windows write one."""
    text = '[experiment]\nkind = "rank"\noutput = "out"\n[data]\nsource = "photos"\n'
    (tmp_path / "rank.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_experiment(tmp_path / "rank.toml").kind == "rank"


def test_the_same_file_gives_the_same_numbers_and_leaves_a_record(place):
    file = written(place, CURVE)
    result, report = load_experiment(file).run()
    assert report == place / "out" / "report.html"
    assert result.cells == {"computed": 18, "resumed": 0}
    assert {"python", "featx", "scikit-learn"} <= set(
        json.loads((place / "out" / "environment.json").read_text())
    )
    first = numbers(place / "out" / "curve.json")
    (place / "out" / "cells.journal").unlink()
    load_experiment(file).run()
    assert numbers(place / "out" / "curve.json") == first


@pytest.mark.parametrize("kind", ["curve", "compare"])
def test_what_it_leaves_runs_again_from_where_it_lies_and_does_nothing_twice(place, monkeypatch, kind):
    text = CURVE if kind == "curve" else COMPARE
    load_experiment(written(place, text)).run()
    copy = place / "out" / "experiment.toml"
    tables = tomllib.loads(copy.read_text())
    assert tables["experiment"] == {"kind": kind, "output": "."}
    assert tables["data"]["source"] == "../photos"
    assert tables["run"]["seed"] == 0
    os.rename(place / "out", place / "moved")
    before = (place / "moved" / "experiment.toml").read_text()

    def refuse(*args, **kwargs):
        raise AssertionError("fitted again")

    monkeypatch.setattr(cells.Cell, "run", refuse)
    monkeypatch.chdir(place)
    result, report = load_experiment(Path("moved") / "experiment.toml").run()
    assert report.parent.resolve() == place / "moved"
    assert result.forward_passes == 0
    assert (place / "moved" / "experiment.toml").read_text() == before
    assert not (place / "out").exists()


def test_all_that_can_be_said_survives_being_written(tmp_path):
    content = {
        "experiment": {"kind": "curve", "output": 'a \\ "b" é\x7f\t'},
        "data": {"source": "digits", "label": "species", "test_size": 0.3, "limit": 100, "on_error": "skip"},
        "network": {
            "backbones": ["a", "b"],
            "weights": "MobileNet_V2_Weights.IMAGENET1K_V1",
            "image_size": 64,
            "window": 2,
            "hop": 0.5,
            "join": "concat:3",
        },
        "methods": {"classifiers": "lda", "baseline": ["head"], "epochs": 2, "augment": True},
        "draws": {"shots": [1, "all"], "seeds": 3},
        "run": {"seed": 5, "batch_size": "auto", "cache": "c", "n_jobs": 2},
    }
    experiment = parse_experiment(content, tmp_path)
    text = experiment.to_toml(beside=experiment.output)
    again = parse_experiment(tomllib.loads(text), experiment.output)
    assert again.arguments == experiment.arguments
    assert again.output.resolve() == experiment.output.resolve()
    assert experiment.arguments["weights"] == "MobileNet_V2_Weights.IMAGENET1K_V1"
    assert [experiment.arguments[name] for name in ("window", "hop", "join")] == [2, 0.5, "concat:3"]
    assert experiment.arguments["cache"] == str(tmp_path / "c")
    assert experiment.arguments["baseline"] == "head"
    assert again.data == {"source": "digits"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[data]", "[dta]", r"e\.toml: unknown table 'dta'; did you mean data"),
        ("source =", "sorce =", r"e\.toml: \[data\] unknown key 'sorce'; did you mean source"),
        ("seeds = 2", "seed = 2", r"e\.toml: \[draws\] unknown key 'seed'; did you mean seeds"),
        ("seeds = 2", 'seeds = "2"', r"e\.toml: \[draws\] seeds must be a whole number, got '2'"),
        ("seeds = 2", "seeds = 1" + 30 * "0", r"\[draws\] seeds must be .*, got a number beyond 2147483647"),
        ('"photos"', '"a\\u0000b"', r"\[data\] source must be a text, got 'a"),
        ("seeds = 2", "seeds = " + 5_000 * "9", r"e\.toml: "),
        ("seeds = 2", "seeds = " + 5_000 * "[", r"e\.toml: not valid TOML"),
        ("seeds = 2", "seeds = true", r"\[draws\] seeds must be a whole number, got True"),
        ("[1, 3,", "[1.5,", r"\[draws\] shots must be a list of whole numbers and \"all\""),
        ('"curve"', '"curves"', r"\[experiment\] kind: unknown kind 'curves'; did you mean curve"),
        ('"curve"', '"compare"', r"\[draws\] shots is for kind curve; this is compare"),
        ("[draws]", "[draws", r"e\.toml: not valid TOML"),
        ('"random"', "[1]", r"\[network\] weights must be a text"),
        ('"random"', '"random"\nwindow = "2 s"', r"\[network\] window must be a number, got '2 s'"),
        ("[experiment]", "run = 3\n[experiment]", r"run must be a table, \[run\], got 3"),
        ('kind = "curve"', "", r"\[experiment\] needs the key 'kind'"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(place, old, new, message):
    if new.startswith("run"):
        text = CURVE.replace("[run]\nengine", "[network2]\nengine").replace(old, new, 1)
        text = text[: text.index("[network2]")]
    else:
        text = CURVE.replace(old, new, 1)
    with pytest.raises(InputError, match=message):
        load_experiment(written(place, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        load_experiment(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"b\.toml: not UTF-8"):
        load_experiment(tmp_path / "b.toml")


def test_an_experiment_that_cannot_begin_leaves_nothing(place):
    file = written(place, CURVE.replace('"photos"', '"pictures/"'))
    with pytest.raises(DatasetError, match="no such file or folder"):
        load_experiment(file).run()
    assert not (place / "out").exists()


def test_the_command_line_curves_and_runs(place, capsys):
    options = ["--weights", "random", "--image-size", "32", "--backbone", BACKBONE, "--quiet"]
    argv = ["curve", str(place / "photos"), "-o", str(place / "o"), "--shots", "1", "all", "--seeds", "2"]
    assert main([*argv, "--classifiers", "lda", *options]) == 0
    out = capsys.readouterr().out
    assert "2 draws" in out
    assert "report:" in out
    first = numbers(place / "o" / "curve.json")
    assert main(["run", str(place / "o" / "experiment.toml"), "--quiet"]) == 0
    assert numbers(place / "o" / "curve.json") == first
    assert CurveResult.read_json(place / "o" / "curve.json").cells == {"computed": 0, "resumed": 8}
    assert main(["run", str(written(place, "[experiment]\nkind = 'curve'\n")), "--quiet"]) == 2
    assert "[experiment] needs the key 'output'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*argv[:5], "few", *options])
    assert "expected a positive whole number, got 'few'" in capsys.readouterr().err


def test_what_cannot_begin_leaves_the_record_of_earlier_results_as_it_was(place):
    load_experiment(written(place, COMPARE)).run()
    before = (place / "out" / "experiment.toml").read_text()
    wrong = COMPARE.replace('"naive-bayes"', '"naive-bays"')
    with pytest.raises(UnknownName, match="naive-bays"):
        load_experiment(written(place, wrong)).run()
    assert (place / "out" / "experiment.toml").read_text() == before
