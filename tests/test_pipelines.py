"""Every pipeline runs as a user would run it, small: one in a process of its own, the others in this one."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINES = Path(__file__).parent.parent / "pipelines"
RUNS = {
    "compare.py": (
        ["--backbone", "squeezenet1_1", "--image-size", "32", "--limit", "20", "--output", "out"],
        "report: out",
    ),
    "learning_curve.py": (
        ["--backbone", "squeezenet1_1", "--image-size", "32", "--seeds", "2", "--output", "out"],
        "report: out",
    ),
    "domain_shift.py": (
        ["--backbone", "squeezenet1_1", "--image-size", "32", "--kinds", "grey"],
        "grey: Trained on the source",
    ),
    "resnet18_head.py": (
        ["--backbone", "squeezenet1_1", "--image-size", "32", "--output", "c.png"],
        "test accuracy",
    ),
    "resnet50_logreg.py": (["--backbone", "squeezenet1_1", "--image-size", "32"], "forward passes: 60"),
    "finetune_forms.py": (
        [
            "--backbone",
            "squeezenet1_1",
            "--image-size",
            "32",
            "--seeds",
            "1",
            "--epochs",
            "1",
            "--forms",
            "full-rich",
        ],
        "full-rich: mean test accuracy",
    ),
    "detector_features.py": (
        ["--backbone", "shufflenet_v2_x0_5", "--image-size", "32", "--layers", "stage3", "conv5"],
        "2 levels side by side",
    ),
    "frozen_blocks.py": (
        [
            *("--backbone", "squeezenet1_1", "--image-size", "32"),
            *("--epochs", "1", "--trained", "0", "1"),
        ],
        "1 of 9 blocks trained: test accuracy",
    ),
    "cifar10_vgg16.py": (
        ["--backbone", "vgg11", "--sizes", "32", "--epochs", "1"],
        "32 px, last: test accuracy",
    ),
}


#: The one that runs in a process of its own, with whatever engine is the fastest here.
ALONE = "resnet50_logreg.py"


def test_every_pipeline_is_run_here():
    assert {p.name for p in PIPELINES.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_pipeline_runs(name, tmp_path, monkeypatch, capsys, two_epochs):
    argv, expected = RUNS[name]
    command = [str(PIPELINES / name), "--data", "digits", "--limit", "60", "--weights", "random", *argv]
    if name == ALONE:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        return
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(command[0], run_name="__main__")
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("name", RUNS)
def test_a_pipeline_takes_the_common_options(name):
    shown = runpy.run_path(str(PIPELINES / name))["parser"].format_help()
    for option in ("--backbone", "--data", "--limit"):
        assert option in shown
