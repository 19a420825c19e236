"""featx backbones: what it prints, for readers, narrow terminals and programs."""

import json
import os
import shutil

import pytest

from featx.backbones.weights import torch_hub_folder
from featx.cli import main


@pytest.fixture(autouse=True)
def _own_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("featx.backbones.weights.hugging_face_folder", lambda: tmp_path / "hub")
    monkeypatch.setattr("featx.backbones.catalogue.packaged_files", dict)


@pytest.fixture
def search(capsys):
    """Run the command, and return the lines that it prints."""

    def run(*arguments):
        assert main(["backbones", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_a_search_prints_aligned_columns_over_all_sources(search):
    lines = search("dinov2", "small")
    assert lines[0].split()[:4] == ["name", "dim", "params", "input"]
    (line,) = [line for line in lines if line.startswith("timm:vit_small_patch14_dinov2.lvd142m ")]
    assert line.split() == ["timm:vit_small_patch14_dinov2.lvd142m", "384", "22.1M", "518", "apache-2.0"]
    assert line.index("384") + 3 == lines[0].index("dim") + 3


def test_without_a_word_it_prints_what_is_here_and_a_line_on_each_source(search):
    torch_hub_folder().mkdir(parents=True)
    (torch_hub_folder() / "resnet18-f37072fd.pth").touch()
    lines = search()
    assert lines[1].startswith("resnet18 ")
    assert lines[1].endswith("IMAGENET1K_V1 on this machine")
    assert lines[2].startswith("On this machine: 1 of ")
    assert [line.split()[0] for line in lines[4:6]] == ["torchvision", "timm"]
    assert "featx backbones resnet50" in lines[4]
    assert any(line.startswith("onnx:FILE ") for line in lines)
    assert len(lines) < 20


def test_here_leaves_out_what_is_not_on_this_machine(search):
    assert search("resnet18", "--here")[-1].endswith("leave out --here to see them")
    torch_hub_folder().mkdir(parents=True)
    (torch_hub_folder() / "resnet18-f37072fd.pth").touch()
    _, line = search("resnet18", "--here")
    assert line.split()[:2] == ["resnet18", "512"]


def test_a_source_can_be_chosen(search, capsys):
    assert all(line.startswith("timm:") for line in search("resnet18", "--source", "timm")[1:-1])
    assert main(["backbones", "--source", "tim"]) == 2
    assert "did you mean timm" in capsys.readouterr().err


def test_no_match_is_an_error_that_says_near_words(capsys):
    assert main(["backbones", "dinov22", "small"]) == 2
    assert "no backbone has dinov22 and small; near: dinov2" in capsys.readouterr().err


def test_a_library_that_is_missing_is_named_with_its_extra(search, monkeypatch):
    monkeypatch.setattr("featx.backbones.catalogue.is_installed", lambda source: source != "timm")
    assert search("dinov2")[-1] == "timm is not installed: pip install 'featx[timm]'"
    assert [line for line in search() if line.endswith("(pip install 'featx[timm]')")]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_names(search, monkeypatch, width):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((width, 24)))
    lines = search("dinov2")
    assert lines[1].split()[0].startswith("timm:vit_")
    assert max(map(len, lines)) <= width or lines[0].strip() == "name"
    assert ("licence" in lines[0]) == (width >= 80)


def test_json_has_every_field(search):
    (text,) = search("vit_b_16", "--json", "--source", "torchvision")
    records = json.loads(text)
    assert [record["image_size"] for record in records] == [224, 384, 224]
    assert set(records[0]) == {
        *("name", "dim", "parameters", "top1", "weights_available", "weights_name", "image_size", "licence"),
        "source",
    }
    assert json.loads(search("zzzz", "--json")[0]) == []


def test_layers_are_those_of_one_backbone(search, capsys):
    assert any(line.split()[1] == "features.12" for line in search("squeezenet1_1", "--layers")[1:])
    assert main(["backbones", "resnet18", "resnet50", "--layers"]) == 2
    assert "featx backbones NAME --layers" in capsys.readouterr().err
