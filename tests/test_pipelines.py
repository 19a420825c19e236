"""Every pipeline runs as a user would run it, small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PIPELINES = Path(__file__).parent.parent / "pipelines"
RUNS = {
    "compare.py": (
        ["--backbone", "shufflenet_v2_x0_5", "--image-size", "32", "--output", "out"],
        "report: out",
    ),
    "learning_curve.py": (
        ["--backbone", "shufflenet_v2_x0_5", "--image-size", "32", "--seeds", "2", "--output", "out"],
        "report: out",
    ),
    "domain_shift.py": (
        ["--backbone", "resnet18", "--image-size", "32", "--kinds", "grey"],
        "grey: Trained on the source",
    ),
    "resnet18_head.py": (["--image-size", "32", "--output", "c.png"], "test accuracy"),
    "resnet50_logreg.py": (["--backbone", "resnet18", "--image-size", "32"], "forward passes: 60"),
    "finetune_forms.py": (
        [
            "--backbone",
            "shufflenet_v2_x0_5",
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
            *("--backbone", "shufflenet_v2_x0_5", "--image-size", "32"),
            *("--epochs", "1", "--trained", "0", "1"),
        ],
        "1 of 5 blocks trained: test accuracy",
    ),
    "cifar10_vgg16.py": (
        ["--backbone", "vgg11", "--sizes", "32", "--epochs", "1"],
        "32 px, last: test accuracy",
    ),
}


def test_every_pipeline_is_run_here():
    assert {p.name for p in PIPELINES.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_pipeline_runs(name, tmp_path):
    argv, expected = RUNS[name]
    command = [
        sys.executable,
        str(PIPELINES / name),
        "--data",
        "digits",
        "--limit",
        "60",
        "--weights",
        "random",
    ]
    done = subprocess.run([*command, *argv], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


@pytest.mark.parametrize("name", RUNS)
def test_a_pipeline_takes_the_common_options(name):
    done = subprocess.run([sys.executable, str(PIPELINES / name), "--help"], capture_output=True, text=True)
    for option in ("--backbone", "--data", "--limit"):
        assert option in done.stdout
