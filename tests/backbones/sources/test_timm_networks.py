"""Networks of timm: what is built for tags and image sizes, and where each family is cut."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from inputs_of_networks import images

from featx.backbones import list_layers, load_backbone
from featx.backbones.layers.cutting import cut, resolve_layers
from featx.backbones.layers.pooling import Tap
from featx.backbones.loading import meta_network, random_network
from featx.backbones.sources.timm import TimmArchitecture, TimmLayerRules, import_timm
from featx.errors import InputError, UnknownName

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

RULES = TimmLayerRules()
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}


def published(name, tag):
    return next(weights for weights in TimmArchitecture(name).published() if weights.name == tag)


@pytest.mark.parametrize(
    ("name", "tag", "classes", "layer"),
    [
        ("vit_tiny_patch16_224", "augreg_in21k", 21843, "getitem_1"),
        ("vit_small_patch16_224", "dino", 0, "getitem_1"),  # the layer of its other weights
        ("vit_base_patch32_clip_224", "openai", 512, "getitem_1"),
        ("vit_base_patch16_siglip_224", "webli", 0, "embedding"),
        ("vit_small_patch14_dinov2", "lvd142m", 0, "embedding"),
    ],
)
def test_weights_are_given_the_network_that_timm_builds_for_them(name, tag, classes, layer):
    architecture, weights = TimmArchitecture(name), published(name, tag)
    inputs = images(*weights.preprocessing.size)
    network = meta_network(architecture, weights, inputs, pretrained_style=True)
    part = cut(network, inputs, name=name, rules=RULES)
    assert (part.tap.layer, part.dim) == (layer, network.num_features)
    assert RULES.has_classifier(network) == bool(classes)
    if classes:
        assert network.num_classes == classes
    else:
        with pytest.raises(InputError, match="has no classifier"):
            cut(network, inputs, name=name, layer="logits", rules=RULES)


def test_the_projected_embedding_of_clip_is_the_layer_logits():
    backbone = load_backbone("timm:vit_xsmall_patch16_clip_224", weights=None, layer="logits", image_size=32)
    x = torch.rand(1, 3, 32, 32)
    network = backbone.whole_network().eval()
    assert backbone.dim == network.num_classes == 512
    with torch.inference_mode():
        torch.testing.assert_close(backbone.module(x), network(x))


def test_weights_state_their_licence():
    assert published("resnet18", "a1_in1k").licence == "apache-2.0"
    assert published("convnext_tiny", "dinov3_lvd1689m").licence == "dinov3-license"


def test_a_network_of_one_size_is_built_for_another():
    assert load_backbone("timm:vit_tiny_patch16_224", weights=None, image_size=48).dim == 192
    architecture, usual = TimmArchitecture("vit_small_patch14_dinov2"), images(518, 518)
    assert meta_network(architecture, None, usual, pretrained_style=True).pos_embed.shape[1] == 37**2 + 1
    smaller = meta_network(architecture, None, images(224, 224), pretrained_style=True)
    assert smaller.pos_embed.shape[1] == 16**2 + 1


def test_a_network_that_runs_at_any_size_stays_the_same():
    architecture = TimmArchitecture("test_vit")  # resamples its embeddings in each pass
    usual, other = (random_network(architecture, 0, images(size, size)) for size in (160, 96))
    assert all(torch.equal(a, b) for a, b in zip(usual.parameters(), other.parameters(), strict=True))


def test_a_size_that_the_network_cannot_take_is_one_line():
    architecture = TimmArchitecture("nest_tiny_jx")
    with pytest.raises(
        InputError, match=r"^timm:nest_tiny_jx: cannot be built for images of 100 x 100"
    ) as caught:
        meta_network(architecture, None, images(100, 100), pretrained_style=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("test_vit", "getitem_5"),
        ("test_vit3", "attn_pool.getitem_5"),
        ("test_convnext", "head.flatten"),
        ("test_efficientnet", "global_pool.flatten"),
        ("test_resnet", "global_pool.flatten"),
        ("test_nfnet", "head.global_pool.flatten"),
        ("test_mambaout", None),
        ("levit_128s", "embedding"),  # a norm before the classifier
        ("crossvit_tiny_240", "embedding"),  # two classifiers
        ("deit_tiny_distilled_patch16_224", "embedding"),  # the mean of two tokens
    ],
)
def test_the_default_layer_is_timms_embedding(name, layer):
    architecture = TimmArchitecture(name)
    if not import_timm().is_model(name):
        pytest.skip(f"this timm has no {name}")
    inputs = images(*architecture.preprocessing().size)
    network = random_network(architecture, 0, inputs).eval()
    x = torch.randn_like(inputs.example(1))
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(x), pre_logits=True)
        part = cut(network, inputs, name=name, rules=RULES)
        torch.testing.assert_close(part.module(x), expected, rtol=1e-5, atol=1e-6)
    assert layer in (None, part.tap.layer)
    assert part.dim in (network.num_features, network.head_hidden_size)


def transformer(kind):
    """A small transformer of timm, and how many tokens stand before those of patches."""
    import_timm()
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    if kind == "distilled":
        return VisionTransformerDistilled(**SMALL).eval(), 2
    if kind == "registers":
        return VisionTransformer(**SMALL, reg_tokens=4).eval(), 5
    if kind == "registers alone":
        return VisionTransformer(**SMALL, class_token=False, reg_tokens=4, global_pool="avg").eval(), 4
    return VisionTransformer(**SMALL, class_token=kind == "class", global_pool="avg").eval(), int(
        kind == "class"
    )


@pytest.mark.parametrize("kind", ["class", "distilled", "registers", "registers alone"])
def test_tokens_of_a_transformer_are_pooled_apart(kind):
    network, prefix = transformer(kind)
    x, seen = torch.rand(2, 3, 32, 32), []
    with network.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(output)):
        network(x)
    tokens = seen[0]
    expected = {
        "cls": tokens[:, 0],
        "patches": tokens[:, prefix:].mean(1),
        "cls+patches": torch.cat([tokens[:, 0], tokens[:, prefix:].mean(1)], 1),
    }
    for pooling, rows in expected.items():
        if kind == "registers alone" and pooling != "patches":
            with pytest.raises(InputError, match="without a class token"):
                cut(network, images(32, 32), name="vit", layer="blocks.0", pooling=pooling, rules=RULES)
            continue
        part = cut(network, images(32, 32), name="vit", layer="blocks.0", pooling=pooling, rules=RULES)
        assert part.tap == Tap("blocks.0.add_1", pooling, channels=2, prefix=prefix)
        torch.testing.assert_close(part.module(x), rows)


def test_tokens_that_a_layer_has_not_are_refused():
    network, _ = transformer("class")
    with pytest.raises(InputError, match="without a class token"):  # it is put in later
        cut(network, images(32, 32), name="vit", layer="patch_embed", pooling="cls", rules=RULES)
    with pytest.raises(InputError, match=r"vit: its default layer .* is a vector, and pooling 'cls'"):
        cut(network, images(32, 32), name="vit", pooling="cls", rules=RULES)
    network, _ = transformer("none")
    with pytest.raises(InputError, match="without class or register tokens"):
        cut(network, images(32, 32), name="vit", layer="blocks.0", pooling="patches", rules=RULES)


def test_layers_of_swin_have_their_channels_last():
    import_timm()
    from timm.models.swin_transformer import SwinTransformer

    def build(size):
        return SwinTransformer(
            img_size=size, patch_size=2, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4
        ).eval()

    network, x, seen = build(16), torch.rand(2, 3, 16, 16), []
    with network.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(output)):
        network(x)

    def resized(inputs):
        return build(inputs.height)

    part = cut(network, images(16, 16), name="swin", layer="layers.0", rules=RULES, resized=resized)
    assert (part.tap.pooling, part.tap.channels, part.dim) == ("avg", 3, 8)
    torch.testing.assert_close(part.module(x), seen[0].mean((1, 2)))
    found = resolve_layers(
        build(16), images(16, 16), ["layers.0", "layers.1"], name="swin", rules=RULES, resized=resized
    )
    assert [(tap.channels, dim) for tap, dim in found] == [(3, 8), (3, 16)]


@pytest.mark.parametrize(
    ("name", "size", "blocks"),
    [
        (
            "timm:test_vit",
            32,
            ["patch_embed", *(f"blocks.{i}" for i in range(6)), "norm", "getitem_5", "logits"],
        ),
        ("timm:test_convnext", 64, ["stem", *(f"stages.{i}" for i in range(4)), "head.flatten", "logits"]),
    ],
)
def test_blocks_are_listed(name, size, blocks):
    assert [layer.name for layer in list_layers(name, weights=None, image_size=size)] == blocks


def test_a_file_under_a_name_with_a_tag_is_prepared_as_the_tag_states(tmp_path, monkeypatch):
    (usual,), path = TimmArchitecture("test_vit").published(), tmp_path / "mine.pth"
    other = replace(usual, name="other", preprocessing=usual.preprocessing.with_size(96))
    monkeypatch.setattr(TimmArchitecture, "published", lambda architecture: [usual, other])
    torch.save(import_timm().create_model("test_vit", num_classes=3).state_dict(), path)
    plain, tagged = (load_backbone(f"timm:{name}", weights=path) for name in ("test_vit", "test_vit.other"))
    assert (plain.preprocessing, tagged.preprocessing) == (usual.preprocessing, other.preprocessing)
    assert tagged.identity == plain.identity  # the preparation is an identity of its own
    again = load_backbone(**tagged.arguments)
    assert (again.preprocessing, again.checkpoint) == (tagged.preprocessing, tagged.checkpoint)
    with pytest.raises(UnknownName, match="unknown weights of timm:test_vit 'othr'"):
        load_backbone("timm:test_vit.othr", weights=path)
