"""Files of weights take the names and shapes of a network of timm, as timm itself converts them."""

import importlib.util

import pytest
import torch

from featx.backbones import load_backbone
from featx.backbones.sources import timm_conversion
from featx.backbones.sources.timm import import_timm
from featx.errors import WeightsError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

CLIP = "vit_base_patch32_clip_224"


def small_transformer(**options):
    """A vision transformer of timm for images of 16 x 16 pixels, with the parts that CLIP's have."""
    import_timm()
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    options = {"num_classes": 5, "pre_norm": True} | options
    network = VisionTransformer(img_size=16, patch_size=8, embed_dim=8, depth=2, num_heads=2, **options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network.eval()


def under_openai_names(state):
    """Name the tensors as OpenAI and open_clip do, and put one of a text tower beside them."""
    named = {
        "visual.class_embedding": state["cls_token"][0, 0],
        "visual.positional_embedding": state["pos_embed"][0],
        "visual.conv1.weight": state["patch_embed.proj.weight"],
        "visual.proj": state["head.weight"].T,
        "token_embedding.weight": torch.rand(3, 4),
    }
    modules = {"norm_pre": "ln_pre", "norm": "ln_post"}
    for i in range(2):
        block = f"transformer.resblocks.{i}"
        modules |= {
            f"blocks.{i}.norm1": f"{block}.ln_1",
            f"blocks.{i}.norm2": f"{block}.ln_2",
            f"blocks.{i}.attn.proj": f"{block}.attn.out_proj",
            f"blocks.{i}.mlp.fc1": f"{block}.mlp.c_fc",
            f"blocks.{i}.mlp.fc2": f"{block}.mlp.c_proj",
        }
        for kind in ("weight", "bias"):
            named[f"visual.{block}.attn.in_proj_{kind}"] = state[f"blocks.{i}.attn.qkv.{kind}"]
    for own, theirs in modules.items():
        for kind in ("weight", "bias"):
            named[f"visual.{theirs}.{kind}"] = state[f"{own}.{kind}"]
    return named


def test_the_names_of_openai_and_open_clip_are_converted_with_the_projection():
    network = small_transformer()
    state = network.state_dict() | {"head.bias": torch.zeros(5)}
    found = timm_conversion.convert_tensors(CLIP, under_openai_names(state), network, "file")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("name", [CLIP, "eva02_base_patch16_clip_224"])
def test_a_tower_of_timm_inside_open_clip_is_unwrapped(name):
    network = small_transformer()
    if name != CLIP:
        from timm.models.eva import Eva

        network = Eva(img_size=16, patch_size=8, embed_dim=8, depth=2, num_heads=2, num_classes=5)
    state = network.state_dict()
    wrapped = {f"visual.trunk.{key}": value for key, value in state.items()} | {"text.x": torch.rand(2)}
    found = timm_conversion.convert_tensors(name, wrapped, network, "file")
    assert all(torch.equal(found[key], value) for key, value in state.items() if not key.startswith("rope"))
    assert "text.x" not in found


def test_a_file_that_fits_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(timm_conversion, "find_conversion", lambda name: pytest.fail("not needed"))
    network = small_transformer()
    assert timm_conversion.convert_tensors("x", network.state_dict(), network, "file").keys() == set(
        network.state_dict()
    )


def test_a_classifier_that_the_network_has_not_is_dropped():
    network = small_transformer(num_classes=0)
    network.pretrained_cfg = {"classifier": "head"}
    state = network.state_dict()
    found = timm_conversion.convert_tensors(CLIP, {**state, "head.weight": torch.rand(3, 8)}, network, "file")
    assert found.keys() == state.keys()


def test_a_file_that_timm_cannot_convert_is_one_error():
    state = small_transformer().state_dict()
    state["pos_embed"] = torch.rand(7)
    with pytest.raises(WeightsError, match="file: timm cannot convert it"):
        timm_conversion.convert_tensors(CLIP, state, small_transformer(), "file")


def test_other_threads_and_later_calls_load_as_before():
    from timm.models import _builder

    before = _builder.load_pretrained
    assert timm_conversion.find_conversion("resnet18") is None
    assert timm_conversion.find_conversion(CLIP) is timm_conversion.find_conversion(CLIP)
    assert _builder.load_pretrained is before


def test_position_embeddings_are_resampled_as_timm_does(save):
    name, size = "vit_tiny_patch16_224", 64
    timm = import_timm()
    torch.manual_seed(0)
    path = save(timm.create_model(name).state_dict(), "vit.pth")
    backbone = load_backbone(f"timm:{name}", weights=path, image_size=size)
    reference = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"state_dict": torch.load(path)}, img_size=size
    ).eval()
    x = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        expected = reference.forward_head(reference.forward_features(x), pre_logits=True)
        torch.testing.assert_close(backbone.module(x), expected)
    assert backbone.identity == load_backbone(f"timm:{name}", weights=path).identity
