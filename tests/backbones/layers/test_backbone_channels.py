"""Which axis holds the channels of a layer; layers where that is not known are refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from inputs_of_networks import images
from torch import nn

from featx.backbones import list_layers, load_backbone
from featx.backbones.layers.cutting import cut, resolve_layers
from featx.backbones.layers.pooling import Tap, find_channels
from featx.backbones.sources.timm import TimmLayerRules
from featx.errors import InputError
from featx.vision import import_torchvision

SQUARE = (224, 224)


@pytest.mark.parametrize(
    ("shape", "size", "larger", "tokens", "axis"),
    [
        ((2, 96, 56, 56), SQUARE, None, (), 1),
        ((2, 56, 56, 96), SQUARE, None, (), 3),
        ((2, 56, 56, 56), SQUARE, None, (), None),  # either could be
        ((2, 56, 56, 56), SQUARE, (2, 56, 72, 72), (), 1),
        ((2, 56, 56, 56), SQUARE, (2, 72, 72, 56), (), 3),
        ((2, 56, 56, 56), SQUARE, (2, 72, 56, 72), (), None),
        ((2, 512, 1, 1), SQUARE, None, (), 1),
        ((2, 1, 1, 512), SQUARE, None, (), 3),
        ((2, 96, 30, 40), (120, 160), None, (), None),
        ((2, 96, 30, 40), (120, 160), (2, 96, 46, 56), (), 1),
        ((2, 512, 7, 7), SQUARE, (2, 512, 7, 7), (), 1),  # pooled to a fixed size
        ((2, 197, 768), SQUARE, None, (196, 197), 2),
        ((2, 768, 197), SQUARE, None, (196, 197), 1),
        ((2, 196, 196), SQUARE, None, (196, 197), None),
        ((2, 49, 768), SQUARE, (2, 81, 768), (), 2),
        ((2, 768, 49), SQUARE, (2, 768, 81), (), 1),
        ((2, 49, 768), SQUARE, None, (), None),
    ],
)
def test_channels_are_known_from_shapes(shape, size, larger, tokens, axis):
    assert find_channels(shape, size[0] == size[1], larger, tokens) == axis


class Last(nn.Module):
    """Computes with channels last, as Swin does, and pools them itself."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 2, 2), nn.LayerNorm(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return self.head(x.mean((1, 2)))


def test_a_layer_with_channels_last_is_pooled_over_its_positions():
    network = Last()
    x = torch.rand(2, 3, 8, 8)
    last = network.norm(network.conv(x).permute(0, 2, 3, 1))
    torch.testing.assert_close(cut(network, images(8, 8), name="last").module(x), last.mean((1, 2)))
    for pooling, expected in (("avg", last.mean((1, 2))), ("max", last.amax((1, 2)))):
        part = cut(network, images(8, 8), name="last", layer="norm", pooling=pooling)
        assert (part.tap, part.dim) == (Tap("norm", pooling, channels=3), 5)
        torch.testing.assert_close(part.module(x), expected)
    assert cut(Last(), images(8, 8), name="last", layer="norm", pooling="none").dim == 80
    assert cut(Last(), images(8, 8), name="last", layer="conv").dim == 5


class Unknown(Last):
    """Runs at one size only, and gives maps that are not square."""

    def forward(self, x):
        assert x.shape[2:] == (8, 12)
        return super().forward(x)


def test_a_layer_is_refused_where_its_channels_are_not_known():
    with pytest.raises(InputError, match=r"last: layer 'norm' gives \(4, 6, 5\) .* pooling='none'"):
        cut(Unknown(), images(8, 12), name="last", layer="norm")
    with pytest.raises(InputError, match="last: layer 'norm'"):
        resolve_layers(Unknown(), images(8, 12), ["norm"], name="last")
    (refused,) = resolve_layers(Unknown(), images(8, 12), ["norm"], name="last", strict=False)
    assert isinstance(refused, InputError)


def test_a_network_built_for_larger_images_tells_where_the_channels_are():
    part = cut(Unknown(), images(8, 12), name="last", layer="norm", resized=lambda inputs: Last())
    assert part.tap == Tap("norm", "avg", channels=3)
    (found,) = resolve_layers(Unknown(), images(8, 12), ["norm"], name="last", resized=lambda inputs: Last())
    assert found == (Tap("norm", "avg", channels=3), 5)


def test_larger_images_tell_channels_from_as_many_rows():
    class Even(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    assert cut(Even(), images(8, 8), name="even", layer="conv").tap.pooling == "avg"


def test_layers_of_swin_have_the_channels_of_its_stages():
    dims = [layer.dim for layer in list_layers("swin_t", weights=None, image_size=64)]
    assert dims == [96, 96, 192, 192, 384, 384, 768, 768, 768, 1000]
    backbone = load_backbone("swin_t", weights=None, layer="features.1", image_size=64)
    assert backbone.tap.channels == 3
    x = torch.rand(1, 3, 64, 64)
    seen = []
    network = backbone.whole_network().eval()
    network.features[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        network(x)
    torch.testing.assert_close(backbone.module(x), seen[0].mean((1, 2)))


def test_tokens_of_a_vision_transformer_are_known():
    import_torchvision()  # timm imports it, and a mismatched build must be mended first
    pytest.importorskip("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [layer.name for layer in list_layers("timm:vit_tiny_patch16_224", weights=None)]
    assert names[:2] == ["patch_embed", "blocks.0"]
    assert TimmLayerRules().stated_tokens(nn.Linear(1, 1)) == ()
