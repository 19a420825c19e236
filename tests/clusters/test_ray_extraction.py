"""Extraction on Ray: the rows of one process, whatever becomes of its workers."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest
from pictures import BACKBONE, picture, write_photos
from work_of_clusters import WatchedImage

import featx
from featx.clusters import open_cluster
from featx.errors import ImageError
from featx.extraction import embed, network_embedder
from featx.extraction.ranges import Mark
from featx.options import Run

SETTINGS = {"engine": "torch", "precision": "fp32", "batch_size": 4}


@pytest.fixture(scope="module")
def cluster(nodes):
    with open_cluster("ray") as opened:
        yield opened


@pytest.fixture(scope="module")
def embedder():
    return network_embedder(featx.load_backbone(BACKBONE, weights=None, image_size=32), Run(**SETTINGS))


@pytest.fixture(scope="module")
def alone(tmp_path_factory, embedder):
    """60 pictures, and their rows in one process."""
    folder = tmp_path_factory.mktemp("alone")
    files = [folder / f"{i:03d}.png" for i in range(60)]
    for i, file in enumerate(files):
        picture((4 * i, 200 - 3 * i, 90), i).save(file)
    images = [watched(file, folder) for file in files]
    return files, embed(images, embedder, cache=folder / "cache").embeddings


def watched(file, notes, deadly=False):
    return WatchedImage(file.name, str(file), str(notes), os.getpid(), deadly)


@pytest.fixture(params=["seen", "unseen"])
def cache(request, tmp_path, monkeypatch):
    """The folder of a cache, which workers see or do not see."""
    if request.param == "unseen":
        monkeypatch.setattr(Mark, "write", classmethod(lambda cls, folder: cls("/nowhere/mark", b"")))
    return tmp_path / "cache"


def test_rows_are_those_of_one_process(nodes, cluster, alone, embedder, cache, tmp_path):
    files, expected = alone
    found = embed([watched(file, tmp_path) for file in files], embedder, cache=cache, on=cluster)
    np.testing.assert_array_equal(found.embeddings, expected)
    assert found.computed == found.profile.images == len(files)
    assert found.profile.engine["cluster"].startswith("Ray, ")
    reads = Counter(path.name.partition("-")[0] for path in tmp_path.glob("[0-9]*-*"))
    assert set(reads.values()) == {1}


def test_a_killed_worker_loses_only_what_it_had(nodes, cluster, alone, embedder, cache, tmp_path):
    files, expected = alone
    images = [watched(file, tmp_path, deadly=i == 45) for i, file in enumerate(files)]
    found = embed(images, embedder, cache=cache, on=cluster)
    np.testing.assert_array_equal(found.embeddings, expected)
    reads = Counter(path.name.partition("-")[0] for path in tmp_path.glob("[0-9]*-*"))
    assert len(reads) == len(files)
    assert max(reads.values()) == 2
    assert embed(images, embedder, cache=cache).forward_passes == 0


def test_a_failure_is_that_of_one_process(nodes, cluster, cache, tmp_path):
    photos = write_photos(tmp_path / "photos", 10)
    (photos / "sky" / "no.png").write_text("this is no picture")
    options = {"backbone": BACKBONE, "weights": None, "image_size": 32, **SETTINGS}
    alone = featx.extract(photos, cache=tmp_path / "a", on_error="skip", **options)
    found = featx.extract(photos, cache=cache, on_error="skip", on=cluster, **options)
    assert list(map(str, found.failures)) == list(map(str, alone.failures))
    assert found.ids == alone.ids
    (photos / "sky" / "001.png").write_text("this is none either")
    with pytest.raises(ImageError, match=r"\.png: .*on_error='skip'"):
        featx.extract(photos, cache=tmp_path / "b", on=cluster, **options)


def test_the_command_line(nodes, cluster, tmp_path, capsys, monkeypatch):
    from featx.cli import main

    # One of its own would start other actors, which takes time.
    monkeypatch.setattr("featx.extraction.on_cluster.open_cluster", lambda on, verbose: open_cluster(cluster))
    photos = write_photos(tmp_path / "photos", 10)
    network = ["--backbone", BACKBONE, "--weights", "random", "--image-size", "32"]
    flags = [*network, "--engine", "torch", "--precision", "fp32"]
    out, cache = str(tmp_path / "f.h5"), str(tmp_path / "cache")
    main(["extract", str(photos), *flags, "-o", out, "--cache", cache, "--on", "ray", "--profile"])
    told = capsys.readouterr().err
    assert "extracting on Ray, " in told
    assert "torch fp32 on cpu of Ray, " in told
    assert len(featx.load_features(out)) == 30


def test_an_own_network_is_sent(nodes, cluster, tmp_path):
    from torch import nn

    class Network(nn.Module):  # of this place: no worker can import it
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 8, 4, stride=4)

        def forward(self, x):
            return self.layer(x).relu().mean((2, 3))

    photos = write_photos(tmp_path / "photos", 5)
    preprocessing = featx.Preprocessing(resize=32, crop=(32, 32))
    given = {"backbone": Network(), "preprocessing": preprocessing, **SETTINGS}
    alone = featx.extract(photos, cache=tmp_path / "a", **given)
    found = featx.extract(photos, cache=tmp_path / "b", on=cluster, **given)
    assert found.run["forward_passes"] == 15
    np.testing.assert_array_equal(found.embeddings, alone.embeddings)
