"""By default the modes of fine-tuning run that take little time here; what was run is kept and run again."""

from __future__ import annotations

import json
import tomllib

import pytest
from pictures import BACKBONE, QUICK, QUICK_OPTIONS, write_photos

from featx import compare
from featx.cli import main
from featx.results import ComparisonResult
from featx.studies.evaluation.tuning_forecast import TuningForecast

SMALL = {key: value for key, value in QUICK.items() if key != "backbone"} | {"backbones": BACKBONE}
OPTIONS = SMALL | {"classifiers": "lda", "n_boot": 5, "checks": False, "epochs": 1}


@pytest.fixture
def seconds(monkeypatch):
    """Expected seconds of each mode; what is asked for is in the list at None."""
    known = {"finetune-head": 1.0, "finetune-last": 1700.0, "finetune-full": 7200.0, None: []}

    def look_up(self, size, *, short=0.0):
        known[None].append(size.method)
        return known[size.method]

    monkeypatch.setattr(TuningForecast, "seconds", look_up)
    return known


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("modes") / "photos", 6)


def modes(result):
    return [m.name.removeprefix("finetune-") for m in result.methods if m.kind == "finetune"]


def test_long_modes_are_left_out_said_before_and_kept_in_the_results(
    photos, tmp_path, seconds, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    seconds["finetune-last"] = 1900.0
    command = ["compare", str(photos), "-o", "out", "--classifiers", "lda", "--no-checks", *QUICK_OPTIONS]
    assert main(command) == 0
    note = (
        "fine-tuning: last and full left out, which would take about 2 h 30 min here; to run them, ask for "
        "them: --baseline head last full"
    )
    out, err = capsys.readouterr()
    assert note in err.splitlines()
    assert f"note: {note}" in out.splitlines()
    result = ComparisonResult.read_json("out/results.json")
    assert modes(result) == ["head"]
    assert result.baseline == {"modes": ["head"], "left_out": {"last": 1900.0, "full": 7200.0}}
    written = tomllib.loads((tmp_path / "out" / "experiment.toml").read_text())
    assert written["methods"]["baseline"] == ["head"]
    # On a faster machine the same command and the experiment run the same modes.
    seconds |= {"finetune-last": 1.0, "finetune-full": 1.0}
    for again in ([*command, "-q"], ["run", "out/experiment.toml", "-q"]):
        assert main(again) == 0
        assert json.loads((tmp_path / "out" / "results.json").read_text())["baseline"]["modes"] == ["head"]
    capsys.readouterr()


def test_modes_that_were_begun_or_asked_for_are_not_left_out(photos, tmp_path, seconds):
    asked = compare(photos, baseline=["head", "last"], resume=tmp_path / "out", **OPTIONS)
    assert asked.baseline == {"modes": ["head", "last"], "left_out": {}}
    assert seconds[None] == []  # nothing is estimated where nothing is said or decided
    seconds["finetune-last"] = 10_000.0
    default = compare(photos, resume=tmp_path / "out", **OPTIONS)
    assert modes(default) == ["head", "last"]
    assert default.baseline["left_out"] == {"full": 7200.0}
    assert any("full left out, which would take about 2 h here" in note for note in default.warnings)


def test_a_mode_that_was_left_out_and_then_asked_for_runs_by_default(photos, tmp_path, seconds):
    seconds["finetune-last"] = 1900.0
    seconds["finetune-full"] = 7200.0
    assert modes(compare(photos, resume=tmp_path / "out", **OPTIONS)) == ["head"]
    compare(photos, baseline=["head", "last"], resume=tmp_path / "out", **OPTIONS)
    again = compare(photos, resume=tmp_path / "out", **OPTIONS)
    assert modes(again) == ["head", "last"]
    assert again.baseline["left_out"] == {"full": 7200.0}


def test_an_experiment_whose_long_modes_were_left_out_runs_again_with_its_epochs(
    photos, tmp_path, seconds, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    seconds["finetune-last"] = 1900.0
    command = ["compare", str(photos), "-o", "out", "--classifiers", "lda", "--no-checks", *QUICK_OPTIONS]
    assert main([*command, "--epochs", "1", "--seeds", "2", "-q"]) == 0
    assert "would take about 2 h 30 min here on each of 2 splits" in capsys.readouterr().out
    assert main(["run", "out/experiment.toml", "-q"]) == 0
