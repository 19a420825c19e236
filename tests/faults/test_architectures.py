"""Every network of timm: its row is the embedding that timm itself gives, or it is refused by name."""

from __future__ import annotations

import os

import pytest
import torch
from inputs_of_networks import images

from featx.backbones import load_backbone
from featx.backbones.layers.cutting import cut
from featx.backbones.loading import meta_network, random_network
from featx.backbones.sources.timm import TimmArchitecture, TimmLayerRules, import_timm
from featx.errors import InputError
from featx.vision import import_torchvision

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

#: One of each kind.
FEW = (
    "resnet18",
    "mobilenetv3_small_050",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",  # the mean of two tokens
    "vit_small_patch14_dinov2",  # no classifier
    "resnet50_clip_gap",
    "vit_base_patch16_siglip_224",
    "swin_tiny_patch4_window7_224",
    "hiera_tiny_224",
    "crossvit_9_240",  # two classifiers
    "levit_128s",  # norms before the classifier
)
#: Largest network whose values are compared, in parameters, and by --thorough how many are.
LARGEST, COMPARED = 40e6, 150


def pooled(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the embedding that timm gives; of an encoder whose head refuses, the mean of its positions."""
    with torch.inference_mode():
        try:
            return network.forward_head(network.forward_features(images), pre_logits=True)
        except (NotImplementedError, TypeError):
            out = network(images)
            return out if out.dim() == 2 else out.mean(dim=1 if out.dim() == 3 else (2, 3))


def standing(name: str) -> tuple[InputError | None, int]:
    """The error that refuses `name`, if one does, and its parameters; lengths are compared without values."""
    architecture = TimmArchitecture(name)
    network = meta_network(architecture, None, pretrained_style=True).eval()
    parameters = sum(p.numel() for p in network.parameters())
    preprocessing = architecture.preprocessing()
    size = preprocessing.size if preprocessing is not None else (224, 224)
    try:
        part = cut(network, images(*size), name=f"timm:{name}", rules=TimmLayerRules())
    except InputError as error:
        return error, parameters
    expected = pooled(network, torch.zeros((2, 3, *size), device="meta"))
    assert part.dim == (network.head_hidden_size or network.num_features) == expected.shape[1]
    return None, parameters


def assert_equal_rows(name: str) -> None:
    backbone = load_backbone(f"timm:{name}", weights=None)
    network = random_network(backbone.architecture, 0).eval()
    images = torch.rand((2, 3, *backbone.preprocessing.size), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(backbone.module(images), pooled(network, images), rtol=1e-4, atol=1e-5)


def names(thorough: bool) -> list[str]:
    """Those of the short form, or all; FEATX_SHARD=1/2 is the second half of them."""
    if not thorough:
        return list(FEW)
    number, _, of = os.environ.get("FEATX_SHARD", "0/1").partition("/")
    return import_timm().list_models()[int(number) :: int(of)]


def test_every_architecture_gives_the_librarys_own_embedding_or_is_refused(thorough, counted):
    import_torchvision()  # timm imports it, and a mismatched build must be mended first
    pytest.importorskip("timm")
    accepted, refused, small = [], [], []
    for name in names(thorough):
        error, parameters = standing(name)
        (refused if error else accepted).append(name)
        if error is not None:
            assert f"timm:{name}" in str(error)
            assert len(str(error).splitlines()) == 1
        elif parameters <= LARGEST:
            small.append(name)
    compared = small[:: max(1, len(small) // COMPARED)] if thorough else small[:3]
    for name in compared:
        assert_equal_rows(name)
    if not thorough:
        assert accepted == list(FEW)
    counted(accepted=len(accepted), refused=len(refused), rows_compared=len(compared), wrong=0)
