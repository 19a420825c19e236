"""``featx search``: what it prints, and what it refuses in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pictures import BACKBONE, COLOURS, QUICK, picture, write_photos

from featx import extract, load_features
from featx.backbones import load_backbone
from featx.cli import main
from featx.data.features import Features
from featx.data.tasks import Task


def run(capsys, *argv):
    status = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys, *argv):
    status, _, err = run(capsys, *argv)
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    return err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, their features, and a new photo beside them."""
    folder = tmp_path_factory.mktemp("search")
    write_photos(folder / "photos", 4)
    extract(folder / "photos", cache=folder / "cache", **QUICK).save(folder / "f.h5")
    picture(COLOURS["leaf"], 77).save(folder / "new.png")
    return folder


@pytest.fixture
def options(folder):
    return ["--cache", folder / "cache", "--engine", "torch", "--quiet"]


def by_hand(row, features, k, but=None):
    unit = features.embeddings / np.linalg.norm(features.embeddings, axis=1, keepdims=True)
    cosines = unit @ (row / np.linalg.norm(row))
    order = [i for i in np.argsort(-cosines, kind="stable") if features.ids[i] != but][:k]
    return [(features.ids[i], float(cosines[i]), features.classes[features.labels[i]]) for i in order]


def test_an_id_is_answered_without_any_network(capsys, folder, options, monkeypatch):
    monkeypatch.setattr("featx.backbones.load_backbone", None)
    features = load_features(folder / "f.h5")
    status, out, _ = run(capsys, "search", folder / "f.h5", "sky/001.png", "-k", 3, *options)
    assert status == 0
    first, *lines = out.splitlines()
    assert first == "sky/001.png"
    found = [line.split() for line in lines]
    expected = by_hand(features.embeddings[features.ids.index("sky/001.png")], features, 3, "sky/001.png")
    assert [(id, label) for _, id, label in found] == [(id, label) for id, _, label in expected]
    assert [float(cosine) for cosine, _, _ in found] == pytest.approx([c for _, c, _ in expected], abs=1e-4)


def test_image_files_are_embedded_like_the_rows(capsys, folder, options):
    copy = folder / "copy.png"
    copy.write_bytes((folder / "photos" / "leaf" / "002.png").read_bytes())
    argv = ["search", folder / "f.h5", folder / "new.png", copy, "-k", 2, "--json", *options]
    status, out, _ = run(capsys, *argv)
    assert status == 0
    new, known = json.loads(out)
    assert known["query"] == str(copy)
    assert known["matches"][0] == {"id": "leaf/002.png", "similarity": 1.0, "label": "leaf"}
    row = extract([folder / "new.png"], cache=folder / "other", **QUICK).embeddings[0]
    expected = by_hand(row, load_features(folder / "f.h5"), 2)
    assert [m["id"] for m in new["matches"]] == [id for id, _, _ in expected]
    assert [m["similarity"] for m in new["matches"]] == pytest.approx([c for _, c, _ in expected], abs=1e-5)


def test_more_than_there_are_is_all_there_are_and_labels_may_be_missing(capsys, folder, options, tmp_path):
    features = load_features(folder / "f.h5")
    Features(features.embeddings, features.ids, space=features.space).save(tmp_path / "bare.h5")
    argv = ["search", tmp_path / "bare.h5", "sky/001.png", folder / "new.png", "-k", 99, "--json", *options]
    like, new = json.loads(run(capsys, *argv)[1])
    assert (len(like["matches"]), len(new["matches"])) == (11, 12)
    assert {m["label"] for m in like["matches"]} == {None}
    some = Task("label", np.arange(12) % 3 - 1, ("a", "b"))
    Features(features.embeddings, features.ids, targets={"label": some}, space=features.space).save(argv[1])
    matches = json.loads(run(capsys, *argv)[1])[1]["matches"]
    assert {m["label"] for m in matches} == {None, "a", "b"}


def test_what_cannot_be_searched_for_is_one_line(capsys, folder, options, tmp_path):
    file = folder / "f.h5"
    assert "did you mean sky/001.png" in refused(capsys, "search", file, "sky/01.png", *options)
    assert "photos: a folder" in refused(capsys, "search", file, folder / "photos", *options)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert "bad.png" in refused(capsys, "search", file, tmp_path / "bad.png", *options)
    assert "none.h5: no such file" in refused(capsys, "search", folder / "none.h5", "x", *options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ["does not say which network"]),
        ({"calibration": "0" * 64}, ["int8", "extract in bf16 or fp32"]),
        ({"dtype": "float64"}, ["unknown dtype 'float64'"]),
        ({"backbone": {"weights": "checkpoint"}}, ["a file of your own", "--weights PATH"]),
        ({"backbone": {"weights": "IMAGENET1K_V1"}}, [BACKBONE, "weights"]),
        (
            {"backbone": {"weights_sha256": "0" * 64}},
            ["does not fit the installed backbone", "weights_sha256"],
        ),
        ({"preprocessing": {"decoder": "rgb-1"}}, ["preprocessing.decoder: rgb-1 in f.h5, rgb-3 installed"]),
    ],
)
def test_a_network_that_cannot_be_had_is_one_line(
    capsys, folder, options, tmp_path, monkeypatch, change, words
):
    def no_download(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_download)
    features = load_features(folder / "f.h5")
    space = {}
    if change:
        space = dict(features.space)
        for key, value in change.items():
            space[key] = {**space[key], **value} if isinstance(value, dict) else value
    Features(features.embeddings, features.ids, space=space).save(tmp_path / "f.h5")
    line = refused(capsys, "search", tmp_path / "f.h5", folder / "new.png", *options)
    for word in words:
        assert word in line


def test_a_checkpoint_of_ones_own_is_given_with_weights(capsys, folder, options, tmp_path):
    import torch

    from featx.vision import import_torchvision

    network = getattr(import_torchvision().models, BACKBONE)(weights=None)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    backbone = load_backbone(BACKBONE, weights=tmp_path / "mine.pth", image_size=32)
    features = extract(
        folder / "photos", backbone=backbone, engine="torch", precision="fp32", cache=folder / "cache"
    )
    features.save(tmp_path / "f.h5")
    (tmp_path / "mine.pth").rename(tmp_path / "moved.pth")
    argv = ["search", tmp_path / "f.h5", folder / "photos" / "sky" / "000.png", "-k", 1, "--json", *options]
    (answer,) = json.loads(run(capsys, *argv, "--weights", tmp_path / "moved.pth")[1])
    assert answer["matches"] == [{"id": "sky/000.png", "similarity": 1.0, "label": "sky"}]
