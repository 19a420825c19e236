"""Which axis holds the channels of a layer; layers where that is not known are refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from inputs_of_networks import images
from torch import nn

from featx.backbones import list_layers, load_backbone
from featx.backbones.layers import cut, resolve_layers
from featx.backbones.pooling import channels_known
from featx.backbones.sources.timm import TimmLayerRules
from featx.errors import InputError
from featx.vision import import_torchvision

SQUARE = (224, 224)


@pytest.mark.parametrize(
    ("shape", "size", "other", "tokens", "known"),
    [
        ((2, 96, 56, 56), SQUARE, None, (), True),
        ((2, 56, 56, 96), SQUARE, None, (), False),
        ((2, 56, 56, 56), SQUARE, None, (), False),  # either could be
        ((2, 56, 56, 56), SQUARE, (2, 56, 72, 72), (), True),
        ((2, 56, 56, 56), SQUARE, (2, 72, 72, 56), (), False),
        ((2, 512, 1, 1), SQUARE, None, (), True),
        ((2, 1, 1, 512), SQUARE, None, (), False),
        ((2, 96, 30, 40), (120, 160), None, (), False),
        ((2, 96, 30, 40), (120, 160), (2, 96, 46, 56), (), True),
        ((2, 512, 7, 7), SQUARE, (2, 512, 7, 7), (), True),  # pooled to a fixed size
        ((2, 197, 768), SQUARE, None, (196, 197), True),
        ((2, 768, 197), SQUARE, None, (196, 197), False),
        ((2, 196, 196), SQUARE, None, (196, 197), False),
        ((2, 49, 768), SQUARE, (2, 81, 768), (), True),
        ((2, 768, 49), SQUARE, (2, 768, 81), (), False),
        ((2, 49, 768), SQUARE, None, (), False),
    ],
)
def test_channels_are_known_from_shapes(shape, size, other, tokens, known):
    assert channels_known(shape, size[0] == size[1], other, tokens) is known


class Last(nn.Module):
    """Computes with channels last, as Swin does, and pools them itself."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 2, 2), nn.LayerNorm(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return self.head(x.mean((1, 2)))


def test_a_layer_with_channels_last_is_refused_and_the_networks_own_pooling_is_right():
    network = Last()
    x = torch.rand(2, 3, 8, 8)
    part = cut(network, images(8, 8), name="last")
    torch.testing.assert_close(part.module(x), network.norm(network.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))
    for pooling in (None, "avg", "max"):
        with pytest.raises(InputError, match=r"last: layer 'norm' gives \(4, 4, 5\) .* pooling='none'"):
            cut(Last(), images(8, 8), name="last", layer="norm", pooling=pooling)
    assert cut(Last(), images(8, 8), name="last", layer="norm", pooling="none").dim == 80
    assert cut(Last(), images(8, 8), name="last", layer="conv").dim == 5


def test_resolving_several_layers_raises_or_returns_the_error():
    with pytest.raises(InputError, match="last: layer 'norm'"):
        resolve_layers(Last(), images(8, 8), ["conv", "norm"], name="last")
    conv, norm = resolve_layers(Last(), images(8, 8), ["conv", "norm"], name="last", strict=False)
    assert conv == ("conv", "avg", 5)
    assert isinstance(norm, InputError)


def test_larger_images_tell_channels_from_as_many_rows():
    class Even(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    assert cut(Even(), images(8, 8), name="even", layer="conv").pooling == "avg"


def test_layers_of_swin_are_left_out_by_name():
    with pytest.warns(UserWarning, match=r"swin_t: 8 of its layers are left out.*features\.0"):
        layers = list_layers("swin_t", weights=None, image_size=64)
    assert [(layer.name, layer.dim) for layer in layers] == [("flatten", 768), ("logits", 1000)]
    with pytest.raises(InputError, match=r"swin_t: layer 'features\.1\S*' gives"):
        load_backbone("swin_t", weights=None, layer="features.1", image_size=64)


def test_tokens_of_a_vision_transformer_are_known():
    import_torchvision()  # timm imports it, and a mismatched build must be mended first
    pytest.importorskip("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [layer.name for layer in list_layers("timm:vit_tiny_patch16_224", weights=None)]
    assert names[:2] == ["patch_embed", "blocks.0"]
    assert TimmLayerRules().stated_tokens(nn.Linear(1, 1)) == ()
