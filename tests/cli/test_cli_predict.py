"""The command ``featx predict``: what it prints for people, and the columns that programs read."""

from __future__ import annotations

import csv
import json
import sys
from types import SimpleNamespace

import pytest

from featx.cli.commands import predict
from featx.cli.commands.train import _when_unsure
from featx.estimators.model import Prediction
from featx.methods.abstention import UNLIKE, Confidence, UnsureRule

PREDICTIONS = [
    Prediction("a.jpg", "rose", 0.97, {"rose": 0.97, "tulip": 0.03}, False),
    Prediction("b.jpg", "rose", 0.41, {"rose": 0.41, "tulip": 0.4}, True, "probability below 0.62"),
    Prediction("c\x1b.jpg", "tulip", 0.99, {"rose": 0.01, "tulip": 0.99}, True, UNLIKE),
    Prediction("d.jpg", "rose", 0.41, {"rose": 0.41, "tulip": 0.4}),
]


def test_text_is_a_line_for_each_image():
    assert predict.formatted(PREDICTIONS, "text").splitlines() == [
        "a.jpg: rose 0.97",
        "b.jpg: unsure (rose 0.41)",
        "c\\x1b.jpg: unsure (tulip 0.99; unlike the training images)",
        "d.jpg: rose 0.41",
    ]


def test_csv_and_json_have_a_column_for_it():
    rows = list(csv.DictReader(predict.formatted(PREDICTIONS, "csv").splitlines()))
    assert list(rows[0]) == ["id", "label", "probability", "unsure", "reason", "p(rose)", "p(tulip)"]
    assert [row["unsure"] for row in rows] == ["False", "True", "True", ""]
    assert rows[1]["reason"] == "probability below 0.62"
    records = [json.loads(line) for line in predict.formatted(PREDICTIONS, "jsonl").splitlines()]
    assert [record["unsure"] for record in records] == [False, True, True, None]
    assert records[1]["reason"] == "probability below 0.62"


@pytest.mark.parametrize(
    ("output", "terminal", "form"),
    [
        (None, True, "text"),
        (None, False, "csv"),
        ("p.csv", True, "csv"),
        ("p.jsonl", True, "jsonl"),
        ("p", False, "csv"),
    ],
)
def test_people_get_text_and_programs_csv(output, terminal, form, monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    assert predict._default_format(output) == form


def test_train_says_when_answers_are_unsure():
    shown = _when_unsure(UnsureRule(Confidence(0.62, 0.95, True, 0.9, 0.98), None))
    assert shown == (
        "unsure answers: below a probability of 0.62 (90 % of the held-out images were above it, and 98.0 % "
        "of these right)"
    )
    assert "too few images" in _when_unsure(UnsureRule(Confidence(0.95, 0.95, False, 0.9, 0.98), None))
    assert "no answer" in _when_unsure(UnsureRule(None, None))
    assert "--classifier head" in _when_unsure(None)  # a fine-tuned network


def test_a_file_that_was_written_is_told_in_a_line():
    answers = [Prediction(name, "sky", 0.9, {}, name == "b") for name in "abc"]
    assert predict._summary("answers.csv", answers) == "answers.csv: 3 images, 1 unsure"
    assert predict._summary("answers.csv", answers[:1]) == "answers.csv: 1 image"


def test_csv_has_six_digits_and_json_lines_all():
    answer = Prediction("a", "sky", 1 / 3, {"sky": 1 / 3}, False)
    assert predict.formatted([answer], "csv").splitlines()[1] == "a,sky,0.333333,False,,0.333333"
    assert json.loads(predict.formatted([answer], "jsonl"))["probability"] == 1 / 3
