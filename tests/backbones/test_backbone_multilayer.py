"""Listing layers, logits among them, and computing several in one pass."""

from __future__ import annotations

import pytest
import torch
from inputs_of_networks import images
from pictures import NORMED

from featx.backbones import MultiLayerBackbone, combine_layers, list_layers, load_backbone, load_layers
from featx.backbones.layers.cutting import cut, resolve_layers
from featx.backbones.sources.timm import TimmLayerRules
from featx.errors import InputError, UnknownName, WeightsError
from featx.vision import import_torchvision

TINY = {"weights": None, "image_size": 32}


def test_layers_are_listed_in_the_order_of_computation():
    layers = list_layers(NORMED, **TINY)
    assert [(layer.name, layer.dim) for layer in layers] == [
        *(("conv1", 24), ("stage2", 48), ("stage3", 96), ("stage4", 192), ("conv5", 1024)),
        *(("mean", 1024), ("logits", 1000)),
    ]
    assert [layer.depth for layer in layers] == [1, 2, 3, 4, 5, 6, 7]
    assert [layer.name for layer in layers if layer.is_default] == ["mean"]


def test_logits_are_the_output_of_the_whole_network():
    backbone = load_backbone(NORMED, layer="logits", **TINY)
    network = backbone.architecture.build(None, pretrained_style=False)
    network.load_state_dict(backbone.module.state_dict(), strict=False)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(backbone.module(x), network.eval()(x))
    # One name for one thing: the same space as under the node's own name.
    assert backbone.identity == load_backbone(NORMED, layer="fc", **TINY).identity


def test_a_classifier_without_a_linear_layer_has_logits_too():
    torch.manual_seed(0)
    network = import_torchvision().models.squeezenet1_1(weights=None).eval()
    part = cut(network, images(64, 64), name="squeezenet1_1", layer="logits")
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(part.module(x), network(x))
    assert (part.dim, part.tap.pooling) == (1000, "identity")


class Branching(torch.nn.Module):
    """Cannot be traced: it looks at values."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(48, 5), torch.nn.Linear(5, 3)

    def forward(self, x):
        x = self.body(torch.flatten(x, 1))
        return self.head(x if x.sum() > 0 else -x)


def test_a_network_that_cannot_be_traced_has_logits_and_several_layers():
    network = Branching().eval()
    part = cut(network, images(4, 4), name="branching", layer="logits")
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(part.module(x), network(x))
    found = resolve_layers(network, images(4, 4), [None, "body", "logits"], name="branching")
    assert [(*tap[:2], dim) for tap, dim in found] == [
        ("head:input", "identity", 5),
        ("body", "identity", 5),
        ("logits", "identity", 3),
    ]
    assert isinstance(network.head, torch.nn.Linear)  # cutting took nothing off


def test_layers_of_one_pass_equal_each_layer_alone():
    members = load_layers(NORMED, ["stage3", None, "logits"], **TINY)
    alone = [load_backbone(NORMED, layer=layer, **TINY) for layer in ("stage3", None, "logits")]
    assert [m.identity for m in members] == [m.identity for m in alone]
    assert [m.dim for m in members] == [96, 1024, 1000]
    x = torch.rand(2, 3, 32, 32)
    together = combine_layers(members).module(x)
    torch.testing.assert_close(together, torch.cat([m.module(x) for m in alone], 1))


def test_all_layers_and_a_loaded_backbone():
    loaded = load_backbone(NORMED, layer="stage3", **TINY)
    members = load_layers(loaded)
    assert [m.layer.split(".")[0] for m in members] == ["conv1", "stage2", "stage3"]
    assert members[-1].dim == loaded.dim == 96
    assert combine_layers(load_layers(loaded, [None])) is loaded
    assert isinstance(combine_layers(members), MultiLayerBackbone)
    assert [m.dim for m in load_layers(NORMED, "stage2", pooling="max", **TINY)] == [48]
    # Two names of one layer are one.
    assert len(load_layers(NORMED, ["fc", "logits"], **TINY)) == 1


def test_missing_logits_and_layers_are_refused(tmp_path):
    state = import_torchvision().models.get_model(NORMED, weights=None).state_dict()
    path = tmp_path / "headless.pth"
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, path)
    assert load_backbone(NORMED, weights=path, image_size=32).module is not None
    with pytest.raises(WeightsError, match=r"lacks fc.weight, fc.bias"):
        load_backbone(NORMED, weights=path, layer="logits", image_size=32).build()
    with pytest.raises(UnknownName, match="layer"):
        load_layers(NORMED, ["stage9"], **TINY)
    with pytest.raises(InputError, match="layers: at least one"):
        load_layers(NORMED, [], **TINY)


def test_a_network_of_timm_has_logits_unless_it_has_no_head():
    import_torchvision()  # timm imports it, and a mismatched build must be mended first
    pytest.importorskip("timm")
    layers = list_layers("timm:test_resnet", weights=None, image_size=32)
    assert [layers[-1].name, layers[-1].dim] == ["logits", 1000]
    import timm

    headless = timm.create_model("test_resnet", num_classes=0).eval()
    with pytest.raises(InputError, match="no classifier"):
        cut(headless, images(32, 32), name="headless", layer="logits", rules=TimmLayerRules())
