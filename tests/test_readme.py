"""Run what README.md and docs/ show: their Python as it stands, their commands through the parser.

In place of pretrained weights, which no test may need, every named backbone gets seeded random ones and an
image size of 32, and ResNet-50 is ResNet-18; the photos and tables that the examples take for granted are
made up here. Fine-tuning runs for two epochs, in fp32 whatever the machine has. Nothing else is substituted.
"""

from __future__ import annotations

import pkgutil
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pictures import write_photos
from PIL import Image
from texts import reviews, write_bert
from torch import nn

import featx.backbones
from featx import Features
from featx.cli.parser import build_parser

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.rst"))
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language, page):
    """(line, text) of each block of that language; the line is the first of its text."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def commands():
    lines = [line for page in PAGES for _, block in blocks("sh", page) for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("featx ")))


@pytest.fixture
def taken_for_granted(tmp_path, monkeypatch, two_epochs):
    """The names that the examples use and do not make, beside ``photos/``, ``new.jpg`` and ``table.csv``."""
    load = featx.backbones.load_backbone
    smaller = {"resnet50": "resnet18"}  # of the same layers

    def load_small(network, *, weights="default", **options):
        if weights is None:  # those that a model was trained on
            return load(network, weights=None, **options)
        assert weights == "default"
        if not isinstance(network, str):
            return load(network, **(options | {"image_size": 32}))
        return load(smaller.get(network, network), weights=None, **(options | {"image_size": 32}))

    monkeypatch.setattr("featx.backbones.load_backbone", load_small)
    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)
    monkeypatch.chdir(tmp_path)
    paths = sorted(write_photos(Path("photos"), 8).rglob("*.png"))
    Image.open(paths[0]).save("new.jpg")
    labels = [path.parent.name for path in paths]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "photo": list(map(str, paths)),
            "height": rng.normal(10, 3, len(paths)),
            "month": rng.integers(3, 10, len(paths)),
            "habitat": rng.choice(["wood", "meadow"], len(paths)),
        }
    )
    return {"paths": paths, "labels": labels, "frame": frame}


def run_blocks(page, names):
    for line, block in blocks("python", page):
        # Blank lines before it, so that a traceback shows the line of the page.
        exec(compile("\n" * (line - 1) + block, str(page), "exec"), names)
    return names


def test_the_python_of_the_readme_runs_as_it_stands(taken_for_granted):
    names = run_blocks(README, dict(taken_for_granted))
    assert names["features"].embeddings.shape == (24, 1280)
    assert Path("out/report.html").is_file()


def test_the_page_on_scikit_learn_runs_as_it_stands_and_sends_each_image_through_each_network_once(
    taken_for_granted, monkeypatch
):
    from featx.engines import EagerEngine

    seen = []
    run = EagerEngine.__call__

    def counting(self, pixels, *args, **kwargs):
        seen.append(len(pixels))
        return run(self, pixels, *args, **kwargs)

    # The reference itself, which is compared with nothing: all that it sees goes into rows.
    monkeypatch.setattr("featx.engines.resolver._fastest_on_cpu", lambda: "eager")
    monkeypatch.setattr(EagerEngine, "__call__", counting)
    names = run_blocks(ROOT / "docs" / "scikit-learn.md", dict(taken_for_granted))
    assert names["search"].best_score_ > 0.5
    assert len(names["search"].cv_results_["params"]) == 18
    assert sum(seen) == 2 * len(taken_for_granted["paths"])


def test_the_python_of_the_page_on_files_runs_as_it_stands(taken_for_granted):
    photos = featx.load_dataset("photos")
    rows = np.zeros((len(photos), 4), np.float32)
    Features(rows, photos.ids, labels=photos.labels, classes=photos.classes).save("features.h5")
    names = run_blocks(ROOT / "docs" / "files.md", {})
    assert names["frame"].shape == (24, 5)
    assert set(names["frame"]["label"]) == set(photos.classes)


def test_the_python_of_the_page_on_backbones_runs_as_it_stands(taken_for_granted):
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    names = run_blocks(ROOT / "docs" / "backbones.md", {"network": nn.Sequential(*layers)})
    assert names["features"].embeddings.shape == (24, 8)


def test_the_python_of_the_page_on_texts_runs_as_it_stands(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    texts, labels = reviews(3)
    network = f"hf:{write_bert(tmp_path / 'bert')}"
    names = run_blocks(ROOT / "docs" / "texts.md", {"network": network, "texts": texts, "labels": labels})
    assert names["features"].embeddings.shape == (6, 32)
    assert names["pipe"].named_steps["columntransformer"].transformers[1][2] == ["description"]


def test_the_python_of_the_page_on_data_runs_as_it_stands(tmp_path, monkeypatch):
    pytest.importorskip("kaldi_native_fbank", reason="the extra audio is not installed")
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path))
    sound = np.random.default_rng(0).normal(0, 0.1, (4, 8000))
    given = {"samples": sound, "labels": ["low", "high", "low", "high"]}
    assert run_blocks(ROOT / "docs" / "data.md", given)["features"].embeddings.shape == (4, 160)


def test_the_python_of_the_page_on_machines_runs_as_it_stands(taken_for_granted):
    names = run_blocks(ROOT / "docs" / "machines.md", {})
    assert len(names["features"]) > 20


def test_every_page_with_python_is_run():
    with_python = {page.name for page in PAGES if blocks("python", page)}
    assert with_python == {
        *("README.md", "scikit-learn.md", "files.md", "backbones.md", "texts.md", "data.md", "machines.md")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_every_public_name_is_in_the_reference():
    text = (ROOT / "docs" / "reference" / "python.rst").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto(?:class|function):: (\w+)$", text, re.MULTILINE))
    assert documented == set(featx.__all__) - {"__version__", "FeatxError"}


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "reference").glob("*.rst")), ids=lambda page: page.name
)
def test_the_reference_names_what_there_is(page):
    for name in re.findall(r"^\.\. auto\w+:: (featx[\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert pkgutil.resolve_name(name).__doc__, name


@pytest.mark.parametrize("command", commands())
def test_the_commands_parse(command):
    args = build_parser().parse_args(shlex.split(command, comments=True)[1:])
    assert args.command == command.split()[1]
