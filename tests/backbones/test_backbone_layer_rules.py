"""The layer found by rule is the embedding that the library gives, or the network is refused by name."""

from __future__ import annotations

import pytest
import torch
from inputs_of_networks import images
from torch import nn

from featx.backbones import load_backbone
from featx.backbones.layers import cut
from featx.backbones.sources.timm import TimmLayerRules
from featx.errors import InputError
from featx.vision import import_torchvision


class Timm(nn.Module):
    """What a network of timm has, small."""

    num_classes, num_features, head_hidden_size = 4, 5, 5

    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.head = nn.Conv2d(3, 5, 2), nn.Dropout(), nn.Linear(5, 4)

    def forward_features(self, x):
        return self.conv(x)

    def forward_head(self, x, pre_logits=False):
        x = self.drop(x.mean((2, 3)))
        return x if pre_logits else self.head(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class Headless(Timm):
    num_classes = 0

    def forward_head(self, x, pre_logits=False):
        return x.mean((2, 3))


class NormedHead(Timm):
    """A norm stands between the embedding that the library gives and the classifier."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5)

    def forward_head(self, x, pre_logits=False):
        x = x.mean((2, 3))
        return x if pre_logits else self.head(self.norm(x))


class TwoHeads(Timm):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(5, 4)

    def forward_head(self, x, pre_logits=False):
        a, b = x.mean((2, 3)), x.amax((2, 3))
        return (a + b) / 2 if pre_logits else (self.head(a) + self.other(b)) / 2


class OtherLength(Timm):
    head_hidden_size = 7


class Untraceable(Timm):
    def forward_features(self, x):
        return self.conv(x if x.sum() > 0 else -x)


def test_a_layer_that_is_the_librarys_own_embedding_is_taken():
    network, x = Timm().eval(), torch.rand(2, 3, 8, 8)
    part = cut(network, images(8, 8), name="timm:net", rules=TimmLayerRules())
    torch.testing.assert_close(
        part.module(x), network.forward_head(network.forward_features(x), pre_logits=True)
    )


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Headless, "has no classifier"),
        (NormedHead, r"the layer found by rule, 'norm', is not the embedding that timm gives, 'mean'"),
        (TwoHeads, "is not the embedding that timm gives, 'truediv'"),
        (OtherLength, "gives 5 values, and the library says 7"),
        (Untraceable, "cannot be traced"),
    ],
)
def test_any_other_network_is_refused_by_name(network, reason):
    with pytest.raises(InputError, match=f"^timm:net: .*{reason}.*name a layer with layer=") as caught:
        cut(network(), images(8, 8), name="timm:net", rules=TimmLayerRules())
    assert "\n" not in str(caught.value)


def test_a_named_layer_is_taken_without_this_check():
    assert cut(Headless(), images(8, 8), name="timm:net", layer="conv", rules=TimmLayerRules()).dim == 5


def test_the_last_weights_of_a_network_of_torchvision_must_be_a_classifier():
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(12, 3)

        def forward(self, x):
            return self.body(torch.flatten(x, 1))

    with pytest.raises(InputError, match="net: its last layer with weights, 'body', is not the classifier"):
        cut(Body(), images(2, 2), name="net")


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_dinov3", "resnet50_clip_gap", "hiera_tiny_224", "levit_128s"]
)
def test_networks_of_timm_that_gave_wrong_embeddings_are_refused(name):
    import_torchvision()  # timm imports it, and a mismatched build must be mended first
    timm = pytest.importorskip("timm")
    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    with pytest.raises(InputError, match=f"^timm:{name}: "):
        load_backbone(f"timm:{name}", weights=None)
