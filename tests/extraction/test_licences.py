"""The licence of weights goes with their rows, and does not identify them."""

from dataclasses import replace

import numpy as np
import pytest

import featx
from featx.backbones import Pretrained, load_backbone
from featx.backbones.multilayer import combine_layers, load_layers
from featx.cache import Cache
from featx.cli import main
from featx.data.features import describe, load_features
from featx.errors import FeaturesError
from featx.results import ComparisonResult

LICENCE = "cc-by-nc-4.0"
QUICK = {"engine": "eager", "device": "cpu", "verbose": False}


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def network(licence):
    """A small network whose weights are said to have this licence."""
    backbone = load_backbone("shufflenet_v2_x0_5", weights=None, image_size=32)
    backbone.pretrained = Pretrained("random", "", None, None, licence=licence)
    return backbone


@pytest.fixture(scope="module")
def features():
    rows = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
    space = {"backbone": {"architecture": "net", "layer": "flatten"}}
    return featx.Features(
        embeddings=rows, ids=[f"{i}" for i in range(24)], space=space, about={"licence": LICENCE}
    )


def test_features_say_the_licence_and_their_space_does_not():
    features = featx.extract(IMAGES, backbone=network(LICENCE), **QUICK)
    assert features.about == {"licence": LICENCE}
    other = featx.extract(IMAGES, backbone=network("mit"), **QUICK)
    assert (other.space, other.run["forward_passes"]) == (features.space, 0)  # the same rows
    assert featx.extract(IMAGES, backbone=network(None), **QUICK).about == {}


def test_a_features_file_keeps_it(features, tmp_path, capsys):
    path = tmp_path / "f.h5"
    features.subset([2, 0]).save(path)
    assert load_features(path).about == {"licence": LICENCE}
    assert f"  licence      {LICENCE}" in describe(path).splitlines()
    assert main(["inspect", str(path)]) == 0
    assert LICENCE in capsys.readouterr().out
    replace(features, about={}).save(path)
    assert load_features(path).about == {}


@pytest.mark.parametrize("about", [["mit"], {"licence": object()}])
def test_what_is_no_json_is_refused(features, about):
    with pytest.raises(FeaturesError, match=r"^about: "):
        replace(features, about=about)


def test_the_cache_notes_it_for_each_layer():
    layers = load_layers(network(LICENCE), ["stage2", None])
    featx.extract(IMAGES, backbone=combine_layers(layers), **QUICK)
    assert [info.about for info in Cache().info()] == [{"licence": LICENCE}] * 2


def test_results_and_reports_say_it(features, tmp_path):
    data = replace(features, labels=np.arange(24) % 2, classes=("a", "b"))
    result = featx.compare(data, classifiers=["nearest_centroid"], n_boot=50, verbose=False)
    (about,) = result.about.values()
    assert about == {"licence": LICENCE}
    result.save(tmp_path)
    assert ComparisonResult.read_json(tmp_path / "results.json").about == result.about
    assert "Licence of the weights" in (page := (tmp_path / "report.html").read_text())
    assert LICENCE in page


def test_an_older_result_says_nothing(features):
    result = featx.similarity(features, features.subset(np.arange(10)), n_permutations=20)
    content = result.to_dict()
    assert content.pop("about") == {"net": {"licence": LICENCE}}
    assert type(result).from_dict(content).about == {}
