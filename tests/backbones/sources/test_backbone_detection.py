"""Detectors as backbones: every layer against torchvision's own backbone, and files of whole detectors."""

import copy

import numpy as np
import pytest
import torch

from featx.backbones import combine_layers, list_layers, load_backbone, load_layers
from featx.backbones.layers import cut
from featx.backbones.loading import meta_network, random_network
from featx.backbones.sources.detection import FACTS, DetectionSource
from featx.data import images_of
from featx.errors import InputError, UnknownName, WeightsError
from featx.methods.finetune import Recipe, fine_tune
from featx.vision import import_torchvision

PYRAMID, SSD = "fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def built():
    """The two small detectors with random values, built once."""
    networks = {name: random_network(DetectionSource().architecture(name), 0) for name in (PYRAMID, SSD)}
    return {name: network.eval() for name, network in networks.items()}


@pytest.fixture
def build_once(built, monkeypatch):
    """Loading a detector with random weights takes the networks of `built`."""

    def build(architecture, *_):
        return copy.deepcopy(built[architecture.name])

    for place in ("registry", "backbone"):
        monkeypatch.setattr(f"featx.backbones.{place}.random_network", build)


def test_facts_are_what_cutting_finds_and_sizes_what_the_transform_of_a_detector_states():
    models = import_torchvision().models
    assert set(FACTS) == set(DetectionSource().names()) == set(models.list_models(module=models.detection))
    for name in (PYRAMID, SSD, "ssd300_vgg16", "retinanet_resnet50_fpn"):
        architecture = DetectionSource().architecture(name)
        prepare = architecture.preprocessing()
        network = meta_network(architecture, None, pretrained_style=True)
        transform = network.transform
        assert (list(prepare.mean), list(prepare.std)) == (transform.image_mean, transform.image_std)
        assert prepare.size == (transform.fixed_size or transform.min_size * 2)
        if name not in (PYRAMID, SSD):
            # The whole detector need not fit these images.
            inputs = architecture.input_type(prepare.with_size(64))
            part = cut(network, inputs, name=name, rules=architecture.rules)
            parameters = sum(p.numel() for p in network.parameters())
            assert FACTS[name] == (part.tap.layer, part.tap.pooling, part.dim, parameters)


@pytest.mark.parametrize(
    ("name", "levels"),
    [(PYRAMID, ["fpn.0", "fpn.1", "fpn.pool", "fpn"]), (SSD, [*(f"maps.{i}" for i in range(6)), "maps"])],
)
def test_every_map_and_their_averages_are_those_of_torchvision(name, levels, built, build_once):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))
    backbones = load_layers(f"detection:{name}", [None, *levels], weights=None, image_size=64)
    prepare = backbones[0].preprocessing
    images = ((pixels / 255 - torch.tensor(prepare.mean)) / torch.tensor(prepare.std)).permute(0, 3, 1, 2)
    seen = []
    last = built[name].get_submodule(built[name].last_map)
    with torch.no_grad(), last.register_forward_hook(lambda *call: seen.append(call[-1])):
        own = built[name].backbone(images)
    assert [level.rpartition(".")[2] for level in levels[:-1]] == list(own)
    averages = [level.mean((2, 3)) for level in own.values()]
    expected = [seen[0].mean((2, 3)), *averages, torch.cat(averages, 1)]
    assert [backbone.dim for backbone in backbones] == [rows.shape[1] for rows in expected]
    found = combine_layers(backbones).module(
        backbones[0].inputs.to_network(torch.device("cpu"), torch.float32)(pixels)
    )
    torch.testing.assert_close(found, torch.cat(expected, 1), rtol=1e-5, atol=1e-5)


def test_the_maps_are_listed_after_the_default_layer(build_once):
    layers = list_layers(f"detection:{PYRAMID}", weights=None, image_size=64)
    blocks = [f"backbone.body.{i}" for i in range(17)]
    assert [layer.name for layer in layers if not layer.is_default] == [
        *blocks, "fpn.0", "fpn.1", "fpn.pool", "fpn"
    ]  # fmt: skip
    assert (layers[17].is_default, layers[17].dim) == (True, 960)


def test_a_file_of_a_detector_fits_whatever_boxes_it_was_trained_to_find(built, build_once, tmp_path):
    state = built[SSD].state_dict()
    key = "head.classification_head.module_list.0.1.weight"
    torch.save({**state, key: state[key][:4]}, tmp_path / "mine.pth")
    images = torch.zeros(1, 3, 64, 64)
    rows = [
        load_backbone(f"detection:{SSD}", weights=weights, image_size=64).module(images)
        for weights in (None, tmp_path / "mine.pth")
    ]
    torch.testing.assert_close(*rows)
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(
        WeightsError, match=r"other\.pth does not fit ssdlite320.*it lacks backbone\.features"
    ):
        _ = load_backbone(f"detection:{SSD}", weights=tmp_path / "other.pth").module


def test_old_files_name_the_convolutions_of_a_pyramid_without_a_norm():
    architecture = DetectionSource().architecture("maskrcnn_resnet50_fpn")
    network = meta_network(architecture, None, pretrained_style=True)
    old = {
        key.replace("_blocks.0.0.", "_blocks.0.").replace("_blocks.3.0.", "_blocks.3."): value
        for key, value in network.state_dict().items()
    }
    assert "backbone.fpn.inner_blocks.0.weight" in old
    assert architecture.convert(old, network, "old.pth").keys() == network.state_dict().keys()


def test_batch_norms_are_those_that_the_published_weights_were_trained_with():
    architecture = DetectionSource().architecture("keypointrcnn_resnet50_fpn")
    published = {weights.name: weights for weights in architecture.published()}
    assert list(published) == ["COCO_V1", "COCO_LEGACY"]
    assert published["COCO_V1"].sha256 == "fc266e95"

    def eps(weights, style=True):
        network = meta_network(architecture, weights, pretrained_style=style)
        return network.get_submodule("backbone.body.bn1").eps

    assert eps(published["COCO_V1"]) == eps(None) == 0
    assert eps(published["COCO_LEGACY"]) == eps(None, style=False) == 1e-5


def test_a_detector_is_fine_tuned_block_by_block(built, build_once):
    backbone = load_backbone(f"detection:{SSD}", weights=None, image_size=32)
    images = images_of(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8))
    recipe = Recipe("last", epochs=1, unfreeze=1, lr_search=(), refit=False)
    tuned = fine_tune(backbone, images, [0, 1] * 4, 2, recipe=recipe, train_idx=range(8))
    assert {name.rpartition("features.")[2].partition(".")[0] for name in tuned.changed_values()} == {"1"}


def test_misuse_is_named():
    with pytest.raises(UnknownName, match=r"'detection:fasterrcnn'.*detection:fasterrcnn_resnet50_fpn"):
        load_backbone("detection:fasterrcnn")
    with pytest.raises(InputError, match="layer 'logits': this network has no classifier"):
        load_backbone(f"detection:{SSD}", weights=None, layer="logits", image_size=64)
    with pytest.raises(UnknownName, match=r"layer of detection:.*maps\.5"):
        load_backbone(f"detection:{SSD}", weights=None, layer="maps.7", image_size=64)
