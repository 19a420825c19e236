"""Every pipeline runs as a user would run it, small: one in a process of its own, the others in this one."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from clips import write_sounds
from texts import reviews, write_bert

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

#: Those that take texts, with a table of reviews and a tiny BERT in place of ``BERT``.
TEXT_RUNS = {
    "bert_sentiment.py": (["--backbone", "BERT", "--epochs", "1"], "last       "),
    "sentiment_ensemble.py": (["--backbones", "BERT", "OTHER"], "averaged: test accuracy"),
}


#: Those that take audio, with a folder of tones.
CLIP_RUNS = {
    "speakers.py": (["--clips", "3"], "kaldi:mfcc (26 numbers a clip): test accuracy"),
    "spoken_digits.py": (["--backbone", "kaldi:mfcc"], "kaldi:fbank "),
}

#: The one that runs in a process of its own, with whatever engine is the fastest here.
ALONE = "resnet50_logreg.py"


def test_every_pipeline_is_run_here():
    assert {p.name for p in PIPELINES.glob("*.py")} == {*RUNS, *TEXT_RUNS, *CLIP_RUNS}


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


def test_the_pipelines_for_texts_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers")
    texts, labels = reviews(12)
    lines = [f"{text}\t{label}\n" for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "reviews.tsv").write_text("".join(["review\tlabel\n", *lines]))
    folders = {"BERT": write_bert(tmp_path / "bert"), "OTHER": write_bert(tmp_path / "other", seed=1)}
    given = {word: f"hf:{folder}" for word, folder in folders.items()}
    for name, (argv, expected) in TEXT_RUNS.items():
        command = [str(PIPELINES / name), "--data", str(tmp_path / "reviews.tsv")]
        monkeypatch.setattr(sys, "argv", [*command, *(given.get(word, word) for word in argv)])
        runpy.run_path(command[0], run_name="__main__")
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize("name", CLIP_RUNS)
def test_a_pipeline_of_clips_runs(name, tmp_path, monkeypatch, capsys):
    argv, expected = CLIP_RUNS[name]
    clips = sorted(write_sounds(tmp_path / "tones", 8).glob("*/*.wav"))
    lines = [f"{clip},{clip.parent.name},s{i % 2}\n" for i, clip in enumerate(clips)]
    (tmp_path / "clips.csv").write_text("".join(["path,label,speaker\n", *lines]))
    monkeypatch.setattr(sys, "argv", [str(PIPELINES / name), "--data", str(tmp_path / "clips.csv"), *argv])
    runpy.run_path(str(PIPELINES / name), run_name="__main__")
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("name", [*RUNS, *TEXT_RUNS, *CLIP_RUNS])
def test_a_pipeline_takes_the_common_options(name):
    shown = runpy.run_path(str(PIPELINES / name))["parser"].format_help()
    for option in ("--backbone", "--data", "--limit"):
        assert option in shown
