"""The default layer is the embedding that the library gives; a network whose own is not known is refused."""

from __future__ import annotations

import pytest
import torch
from inputs_of_networks import images
from torch import nn

from featx.backbones.layers import cut
from featx.backbones.pooling import Tap
from featx.backbones.sources.timm import TimmLayerRules
from featx.errors import InputError


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


@pytest.mark.parametrize("kind", [Headless, NormedHead, TwoHeads, Untraceable])
def test_any_other_network_gives_the_embedding_that_timm_computes(kind):
    network, x = kind().eval(), torch.rand(2, 3, 8, 8)
    expected = network.forward_head(network.forward_features(x), pre_logits=True)
    part = cut(network, images(8, 8), name="timm:net", rules=TimmLayerRules())
    assert (part.tap.layer, part.dim) == ("embedding", 5)
    torch.testing.assert_close(part.module(x), expected)
    again = cut(network, images(8, 8), name="timm:net", rules=TimmLayerRules(), known=(part.tap, part.dim))
    torch.testing.assert_close(again.module(x), expected)


def test_an_embedding_of_another_length_than_stated_is_refused_by_name():
    message = "^timm:net: .* gives 5 values, and the library says 7.*name a layer with layer="
    with pytest.raises(InputError, match=message) as caught:
        cut(OtherLength(), images(8, 8), name="timm:net", rules=TimmLayerRules())
    assert "\n" not in str(caught.value)


class Encoder(Headless):
    """Computes no classes, and gives a map with its channels last."""

    def forward_head(self, x, pre_logits=False):
        raise NotImplementedError("Encoder does not support classification use cases.")

    def forward(self, x):
        return self.conv(x).permute(0, 2, 3, 1)


def test_of_an_encoder_the_output_is_taken():
    network, x = Encoder().eval(), torch.rand(2, 3, 8, 8)
    part = cut(network, images(8, 8), name="timm:net", rules=TimmLayerRules())
    assert part.tap == Tap("embedding", "avg", channels=3)
    torch.testing.assert_close(part.module(x), network(x).mean((1, 2)))


class Options(Timm):
    """A traced mask is never None: then this network leaves its head out."""

    def forward(self, x, mask=None):
        x = self.forward_features(x)
        return self.forward_head(x) if mask is None else x


def test_optional_arguments_keep_their_defaults():
    network, x = Options().eval(), torch.rand(2, 3, 8, 8)
    part = cut(network, images(8, 8), name="timm:net", layer="logits", rules=TimmLayerRules())
    torch.testing.assert_close(part.module(x), network(x))
    assert [node.op for node in part.module.graph.nodes].count("placeholder") == 1


class Cached(Timm):
    """Keeps what it computes in eval mode, as attention biases are kept."""

    def __init__(self):
        super().__init__()
        self.cache = {}

    def forward_features(self, x):
        if "bias" not in self.cache:
            self.cache["bias"] = self.conv.bias * 2
        return self.conv(x) + self.cache["bias"].reshape(-1, 1, 1)


def test_what_a_network_keeps_while_it_is_traced_is_forgotten():
    network, x = Cached().eval(), torch.rand(2, 3, 8, 8)
    part = cut(network, images(8, 8), name="timm:net", rules=TimmLayerRules())
    assert network.cache == {}
    torch.testing.assert_close(
        part.module(x), network.forward_head(network.forward_features(x), pre_logits=True)
    )


class Constant(Headless):
    """Computes with a tensor that is neither parameter nor buffer, another in each method."""

    def forward_features(self, x):
        return self.conv(x) * torch.tensor([3.0])

    def forward(self, x):
        return super().forward(x * torch.tensor([2.0]))


def test_constants_of_the_embedding_are_its_own():
    network, x = Constant().eval(), torch.rand(2, 3, 8, 8)
    expected = network.forward_head(network.forward_features(x), pre_logits=True)
    for known in (None, (Tap("embedding", "identity"), 5)):
        part = cut(network, images(8, 8), name="timm:net", rules=TimmLayerRules(), known=known)
        torch.testing.assert_close(part.module(x), expected)


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
