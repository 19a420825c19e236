"""Every kind of study: its file runs it again and says what the run settled; the first command is kept."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pictures import QUICK_OPTIONS, write_photos

from featx.cli import main
from featx.data.features import Features
from featx.errors import InputError, OutputError
from featx.options import OPTIONS
from featx.results.runs import MOST_RUNS, add_run, read_runs
from featx.studies.experiments import TABLES, load_experiment, parse_experiment
from featx.studies.experiments import kinds as table
from featx.studies.experiments.kinds import KINDS

#: The command of each kind, and what its file says of the options that were not given.
COMMANDS = {
    "compare": (["compare", "a.h5", "--classifiers", "lda"], {"baseline": "none", "test_size": 0.25}),
    "curve": (
        ["curve", "a.h5", "--shots", "1", "all", "--seeds", "2"],
        {"classifiers": ["logreg", "svm", "knn", "lda", "ridge"], "baseline": ["none"]},
    ),
    "rank": (
        ["rank", "photos", "--no-probe", *QUICK_OPTIONS],
        {"probe": False, "precision": "fp32", "weights": "random"},
    ),
    "similarity": (["similarity", "a.h5", "b.h5", "--permutations", "20"], {"most": 2000, "top": 12}),
    "anomaly": (
        ["anomaly", "a.h5", "--detectors", "knn", "mahalanobis"],
        {"detectors": ["knn", "mahalanobis"], "contamination": 0.05},
    ),
    "scores": (["anomaly", "a.h5", "b.h5"], {"detector": "knn", "contamination": 0.05}),
    "domains": (
        ["compare", "a.h5", "--target-domain", "b.h5", "--classifiers", "lda"],
        {"classifier": "lda", "adaptations": ["per-domain", "coral", "subspace", "tca"]},
    ),
}
#: Keys of results files that differ between two runs.
OF_THE_RUN = (
    *("seconds", "created", "runs", "command", "environment", "cells", "forward_passes", "earlier_run"),
    *("joules", "hygiene", "extraction", "warnings"),
)
#: Parameters that no file sets: consent, objects of Python, and what the runner decides.
NOT_IN_FILES = {"labels", "resume", "verbose", "trust_code", "preprocessing", "on"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", 4)
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(3), 8)
        rows = rng.normal(size=(3, 5))[labels] * 2 + rng.normal(size=(24, 5))
        Features(
            rows.astype(np.float32),
            [f"{name}{i}.png" for i in range(24)],
            labels,
            ("cat", "dog", "fox"),
            space={"backbone": {"architecture": "made"}, "precision": "fp32"},
        ).save(f"{name}.h5")
    return tmp_path


def options_in(file):
    tables = tomllib.loads(file.read_text())
    return {key: value for keys in tables.values() for key, value in keys.items()}


def numbers(content):
    """What a results file says, apart from times, commands and what was done before."""
    if isinstance(content, dict):
        return {key: numbers(value) for key, value in content.items() if not key.startswith(OF_THE_RUN)}
    return [numbers(value) for value in content] if isinstance(content, list) else content


def test_every_kind_has_a_command_here():
    assert set(COMMANDS) == set(KINDS)


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_leaves_a_file_that_repeats_it_and_keeps_the_first_run(home, capsys, monkeypatch, kind):
    command, settled = COMMANDS[kind]
    monkeypatch.setattr("sys.argv", ["featx", *command])
    assert main([*command, "-o", "o/out", "--quiet"]) == 0
    out, copy = home / "o" / "out", home / "o" / "out" / "experiment.toml"
    said = options_in(copy)
    assert said["kind"] == kind
    assert said["output"] == "."
    assert {name: said.get(name) for name in settled} == settled
    sources = [said[key] for key in KINDS[kind].data if key in said]
    assert all(source.startswith("../../") and (out / source).exists() for source in sources)
    assert "featx" in json.loads((out / "environment.json").read_text())
    results = next(filter(Path.exists, (out / f"{name}.json" for name in ("results", "curve", "scores"))))
    before, text = json.loads(results.read_text()), copy.read_text()
    capsys.readouterr()
    assert main(["run", str(copy), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "report: " in printed
    if kind == "rank":
        assert "--weights random --image-size 32" in printed.partition("next: featx compare photos")[2]
    assert copy.read_text() == text
    after = json.loads(results.read_text())
    assert numbers(after) == numbers(before)
    first, second = after["runs"]
    assert [first] == before["runs"]
    assert first["command"] == "featx " + " ".join(command)
    assert second["command"] == "featx run experiment.toml"
    assert second["began"] >= first["began"]
    assert {"seconds", "featx"} <= set(first)
    if (out / "report.html").exists():
        assert "First run here" in (out / "report.html").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_later_default_does_not_change_a_rerun(home, kind):
    """Each option that has a default is in the file, but for those of a network that does not run."""
    found = KINDS[kind].complete({}, ["photos"])
    defaults = {name: value for name, value in KINDS[kind].defaults.items() if value is not None}
    assert set(defaults) - set(found) == ({"weights"} & set(defaults))
    known = inspect.signature(KINDS[kind].function).parameters
    options = set(known) - set(KINDS[kind].data.values()) - NOT_IN_FILES
    assert options == set(KINDS[kind].defaults)
    assert "weights" not in KINDS[kind].complete({"weights": "default"}, ["a.h5"])
    assert not {"precision", "engine"} & set(KINDS[kind].complete({"precision": "auto"}, ["a.h5"]))


@pytest.mark.parametrize("name", ["trust_code", "preprocessing", "resume", "verbose", "on"])
def test_no_file_gives_consent_or_objects(name):
    assert not any(name in keys for keys in TABLES.values())
    assert OPTIONS[name].table is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_experiment_of_any_kind_writes_in_its_own_folder_alone(home, kind):
    (home / "evil").mkdir()
    data = {key: f"../{letter}.h5" for key, letter in zip(KINDS[kind].data, "ab", strict=False)}
    for output, more in (("../out", ""), ("out", '[run]\ncache = "../cache"\n')):
        lines = [f'{key} = "{value}"' for key, value in data.items()]
        text = f'[experiment]\nkind = "{kind}"\noutput = "{output}"\n[data]\n' + "\n".join(lines)
        (home / "evil" / "e.toml").write_text(f"{text}\n{more}")
        with pytest.raises(OutputError, match="outside of the folder of the experiment"):
            load_experiment("evil/e.toml").run()
    assert sorted(os.listdir()) == ["a.h5", "b.h5", "evil", "photos"]


@pytest.mark.parametrize(
    ("kind", "data", "more", "message"),
    [
        ("similarity", {"a": "x"}, {}, r"\[data\] needs the key 'b'"),
        ("domains", {"source": "x"}, {}, r"\[data\] needs the key 'target_domain'"),
        (
            "rank",
            {"source": "x", "test": "y"},
            {},
            r"\[data\] test is for kind anomaly and scores; this is rank",
        ),
        (
            "rank",
            {"source": "x"},
            {"network": {"backbone": "m"}},
            r"backbone is for kind similarity, anomaly, scores and domains; this is rank",
        ),
        ("rank", {"source": "x"}, {"methods": {"probe": "yes"}}, r"probe must be true or false, got 'yes'"),
        ("anomaly", {"source": "x"}, {"methods": {"contamination": "1"}}, r"contamination must be a number"),
        ("ranking", {"source": "x"}, {}, r"unknown kind 'ranking'; did you mean rank"),
        (["rank"], {"source": "x"}, {}, r"kind: unknown kind"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, kind, data, more, message):
    content = {"experiment": {"kind": kind, "output": "o"}, "data": data, **more}
    with pytest.raises(InputError, match=message):
        parse_experiment(content, tmp_path)


def test_paths_near_the_file_are_relative_and_others_are_not(tmp_path):
    here = tmp_path / "a" / "b" / "c"
    here.mkdir(parents=True)
    (here / "photos").mkdir()
    for source, said in (
        ("photos", "./photos"),
        ("../photos/", "../photos"),
        ("../../x/y.csv", "../../x/y.csv"),
        ("../../../z/", str(tmp_path / "z")),
        ("digits", "digits"),
    ):
        content = {"experiment": {"kind": "rank", "output": "."}, "data": {"source": source}}
        content["network"] = {"weights": "IMAGENET1K_V1"}
        content["run"] = {"cache": "../cache"}
        experiment = parse_experiment(content, here)
        again = tomllib.loads(experiment.to_toml(beside=here))
        assert again["data"]["source"] == said
        assert again["network"]["weights"] == "IMAGENET1K_V1"
        assert again["run"]["cache"] == "../cache"
        assert parse_experiment(again, here).data == experiment.data


def test_what_a_run_settled_replaces_only_what_was_left_open(monkeypatch):
    monkeypatch.setattr(table, "_settled_network", lambda result: {"precision": "fp32", "weights": "W"})
    monkeypatch.setitem(
        KINDS,
        "rank",
        table.Kind(KINDS["rank"].function, {"source": "data"}, lambda result: {"layers": ["x"]}),
    )
    settle = KINDS["rank"].settle
    assert settle(None, {"precision": "auto"}, ["photos"]) == {
        "precision": "fp32", "weights": "W", "layers": ["x"],
    }  # fmt: skip
    assert settle(None, {"precision": "bf16", "weights": "random", "layers": "all"}, ["photos"]) == {
        "precision": "bf16", "weights": "random", "layers": "all",
    }  # fmt: skip
    assert settle(None, {}, ["a.h5"]) == {"layers": ["x"]}


def test_runs_of_older_and_of_foreign_files(tmp_path):
    from datetime import UTC, datetime

    file = tmp_path / "results.json"
    old = {"schema": 1, "command": "featx rank x", "created": "2026-01-02T03:04:05+00:00"}
    file.write_text(json.dumps({**old, "seconds_total": 65.0, "environment": {"featx": "0.0.9"}}))
    assert read_runs(file) == [
        {
            "command": "featx rank x",
            "began": "2026-01-02T03:03:00+00:00",
            "seconds": 65.0,
            "featx": "0.0.9",
        }
    ]
    for content in ({"runs": 3}, {"runs": [{"began": []}]}, [], {"created": "x"}, {"created": 5}, {}):
        file.write_text(json.dumps(content))
        assert read_runs(file) == []
    assert read_runs(tmp_path / "none") == []
    runs = []
    for i in range(MOST_RUNS + 5):
        runs = add_run(runs, command=str(i), began=datetime.now(UTC), seconds=1.0, version="1")
    assert len(runs) == MOST_RUNS
    assert [runs[0]["command"], runs[1]["command"], runs[-1]["command"]] == ["0", "6", str(MOST_RUNS + 4)]


def test_an_interrupted_run_leaves_the_record_of_earlier_results(home, monkeypatch):
    assert main([*COMMANDS["scores"][0], "-o", "out", "--quiet"]) == 0
    before = (home / "out" / "experiment.toml").read_text()

    @functools.wraps(KINDS["scores"].function)
    def interrupt(**options):
        raise KeyboardInterrupt

    monkeypatch.setitem(KINDS, "scores", dataclasses.replace(KINDS["scores"], function=interrupt))
    content = {"experiment": {"kind": "scores", "output": "out"}, "data": {"source": "a.h5", "test": "b.h5"}}
    for output in ("out", "new"):
        content["experiment"]["output"] = output
        with pytest.raises(KeyboardInterrupt):
            parse_experiment(content, home).run()
    assert (home / "out" / "experiment.toml").read_text() == before
    assert not (home / "new").exists()


def test_folder_and_data_can_be_moved_together(home, capsys, tmp_path_factory):
    assert main([*COMMANDS["scores"][0], "-o", "out", "--quiet"]) == 0
    new = tmp_path_factory.mktemp("new")
    for name in ("a.h5", "b.h5", "out"):
        (home / name).rename(new / name)
    assert main(["run", str(new / "out" / "experiment.toml"), "--quiet"]) == 0
    assert f"report: {new}" in capsys.readouterr().out
    assert not (home / "out").exists()


def test_results_of_older_versions_are_gone_on_with(home, capsys):
    """A folder of a ranking or of scores without an experiment file, as earlier versions left it."""
    assert main([*COMMANDS["scores"][0], "-o", "out", "--quiet"]) == 0
    (home / "out" / "experiment.toml").unlink()
    about = json.loads((home / "out" / "scores.json").read_text())
    old = {key: about[key] for key in ("schema", "kind", "dataset", "scores")}
    (home / "out" / "scores.json").write_text(json.dumps(old))
    assert main([*COMMANDS["scores"][0], "-o", "out", "--quiet"]) == 0
    assert main(["anomaly", "b.h5", "a.h5", "-o", "out", "--quiet"]) == 2
    assert "holds scores of images of" in capsys.readouterr().err
