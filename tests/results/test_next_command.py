"""The next command: what it carries over from the comparison, quoted for a shell, or as Python."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from featx.metrics import Interval
from featx.options import OPTIONS
from featx.results import ComparisonResult, MethodResult, ScoresResult
from featx.results.next_command import (
    option_words,
    options_again,
    python_lines,
    shell_lines,
    training_arguments,
)
from featx.results.ranking import Candidate, RankingResult

DEFAULTS = {option.name: option.default for option in OPTIONS.values()}


def arguments(name="svm", kind="probe", backbone="net", data="photos", labels=None, asked=None, **given):
    pick = MethodResult(name, name, kind, backbone)
    asked = {"net": "timm:net"} if asked is None else asked
    return training_arguments(pick, data, labels, asked, DEFAULTS | given)


def train(**given) -> str:
    return shell_lines(arguments(**given))[0]


def test_the_commands_train_keep_and_predict():
    assert shell_lines(arguments()) == [
        "featx train photos --classifier svm --backbone timm:net -o model.featx",
        "featx predict model.featx NEW_IMAGES",
    ]


def test_options_that_were_given_are_carried_over_and_defaults_are_not():
    line = train(
        name="finetune-full", kind="finetune", weights=None, layer="layer3", pooling="avg", image_size=64,
        precision="fp32", label=["species"], seed=7, limit=100, trust_code=True, epochs=3,
        test_size=0.5, seeds=4,
    )  # fmt: skip
    assert line == (
        "featx train photos --classifier finetune-full --backbone timm:net --label species --limit 100 "
        "--weights random --layer layer3 --pooling avg --image-size 64 --precision fp32 --trust-code "
        "--seed 7 --epochs 3 -o model.featx"
    )


def test_groups_and_the_split_by_them_are_carried_over():
    assert train(data="words.csv", group="the speaker", split_by="group") == (
        "featx train words.csv --classifier svm --backbone timm:net --group 'the speaker' --split-by group "
        "-o model.featx"
    )
    again = "--group speaker --split-by group --window 2"
    assert options_again(f"featx compare words.csv {again} -o out") == again.split()


def test_what_a_model_cannot_have_is_left_out():
    assert "--precision" not in train(precision="int8")
    assert "--epochs" not in train(epochs=3), "a probe has none"
    assert "--backbone" not in train(asked={}, data="rows.h5"), "the file has the embeddings"


def test_an_ensemble_has_all_backbones_and_another_method_its_own():
    asked = {"a": "timm:a", "b": "timm:b"}
    assert "--classifier ensemble --backbone timm:a timm:b" in train(
        name="ensemble", backbone=None, asked=asked
    )
    assert "--backbone timm:b -o" in train(backbone="b", asked=asked)


def test_names_are_quoted_for_a_shell_and_paths_are_relative_where_they_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(
        train(data=str(tmp_path / "my photos; rm"), cache=str(tmp_path / "c"), weights="/w.pth")
    )
    assert words[2] == "my photos; rm"
    assert words[words.index("--cache") + 1] == "c"
    assert words[words.index("--weights") + 1] == "/w.pth"


def test_in_python_the_call_is_shown_and_what_is_no_plain_value_is_a_variable():
    assert python_lines(arguments(data=Path("photos"), weights=None, seed=3)) == [
        "model = featx.train('photos', classifier='svm', backbone='timm:net', weights=None, seed=3)",
        "model.save('model.featx')",
        "model.predict(new_images)",
    ]
    own = arguments(data=[np.zeros((2, 2))], labels=[1], asked={"net": object()}, preprocessing=object())
    assert python_lines(own)[0] == (
        "model = featx.train(data, labels, classifier='svm', backbone=backbone, preprocessing=preprocessing)"
    )
    json.dumps(own)


@pytest.mark.parametrize("command", [None, "featx compare photos -o out"])
def test_the_lines_are_in_the_file_and_read_again(command):
    method = MethodResult("svm", "SVM", "probe", "net", metrics={"top1": Interval(0.9)})
    result = ComparisonResult({"name": "d"}, [method], training=arguments(), command=command)
    content = result.to_dict()
    assert content["next_steps"][0].startswith("model = featx.train(" if command is None else "featx train ")
    assert ComparisonResult.from_dict(content).next_steps == result.next_steps
    assert ComparisonResult({"name": "d"}, [method]).next_steps == []


def test_other_studies_keep_the_options_of_network_and_reading_in_their_next_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = "featx rank 'my photos' --backbones a b --wei random --image-size=96 --force -o out --see 3"
    assert options_again(command) == ["--weights", "random", "--image-size", "96"]
    assert options_again(command, "--seed")[-2:] == ["--seed", "3"]
    assert options_again(None) == options_again("featx rank 'my") == []
    candidates = [Candidate("a", "flatten", 1, 4, {"logme": 0.1})]
    data = {"name": "my photos", "source": str(tmp_path / "my photos")}
    assert RankingResult(data, candidates, command=command).next_steps == [
        "featx compare 'my photos' --backbone a --weights random --image-size 96 --seed 3 -o results"
    ]


def test_the_commands_after_scores_are_those_of_the_same_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = "featx anomaly good new --weights random --trust-code --contamination 0.2 -o out"
    source = {"source": [str(tmp_path / "good"), "new"]}
    scores = ScoresResult(["a"], [-0.1], "knn", 9, [0.1], [0.2], 0.05, source, "net", command=command)
    for _, line in scores.next_commands():
        assert line.startswith("featx anomaly good ")
        assert " --backbone net --weights random --trust-code" in line
        assert line.count("--contamination") <= 1


def test_a_name_that_begins_like_an_option_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(train(data=str(tmp_path / "-photos"), label=["-kind"], cache=str(tmp_path / "-c")))
    assert words[2] == "./-photos"
    assert "--label=-kind" in words
    assert words[words.index("--cache") + 1] == "./-c"


def test_each_of_several_tasks_has_a_model_of_its_own():
    result = ComparisonResult({"name": "d", "task": "leaf/kind"}, [], training=arguments(), command="featx")
    assert result.next_steps[0].endswith("-o leaf-kind.featx")
    assert result.next_steps[1] == "featx predict leaf-kind.featx NEW_IMAGES"


def test_a_list_of_files_is_a_variable_like_their_labels():
    line = python_lines(arguments(data=["a.png", "b.png"], labels=["x", "y"]))[0]
    assert line.startswith("model = featx.train(data, labels, ")


def test_options_of_an_experiment_are_words_without_those_that_have_their_default():
    given = {
        "label": ["my label"],
        "limit": 9,
        "seed": 0,
        "trust_code": True,
        "engine": "auto",
        "layers": ["a", "b"],
    }
    assert option_words(given) == [
        "--label",
        "my label",
        "--limit",
        "9",
        "--trust-code",
        "--layers",
        "a",
        "b",
    ]
    assert option_words({"label": ["-x"], "trust_code": False}) == ["--label=-x"]


def test_commands_for_texts_carry_their_options_and_ask_for_texts():
    given = arguments(data="reviews.csv", text="review", max_length=128, long="mean", prefix="query: ")
    assert shell_lines(given, kind="text") == [
        "featx train reviews.csv --classifier svm --backbone timm:net --text review --max-length 128 "
        "--long mean --prefix 'query: ' -o model.featx",
        "featx predict model.featx NEW_TEXTS --text review",
    ]
    assert python_lines(given, kind="text")[-1] == "model.predict(new_texts)"
    again = options_again("featx rank reviews.csv --text review --long=mean --prefix 'query: ' -o out")
    assert again == ["--text", "review", "--long", "mean", "--prefix", "query: "]


def test_the_next_steps_of_a_result_on_texts_ask_for_texts():
    found = ComparisonResult({"name": "x", "kind": "text"}, [], training=arguments(data="reviews.csv"))
    assert found.next_steps[-1] == "model.predict(new_texts)"
