"""Image towers of open_clip: rows as open_clip computes them, tags, and files of weights."""

import importlib.util
import json
import sys

import pytest
import torch
from pictures import scene

from featx.backbones import list_layers, load_backbone
from featx.errors import InputError, MissingExtra, UnknownName, WeightsError

if importlib.util.find_spec("open_clip") is None:
    pytest.skip("open_clip is not installed", allow_module_level=True)

from featx.backbones.sources import open_clip as source
from featx.backbones.zero_shot import has_text_tower, make_zero_shot_classifier

_PATCHES = {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
_TEXTS = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
_TIMM = {"timm_model_name": "test_vit", "timm_pool": "token", "image_size": 160}
#: Towers: a transformer of open_clip, a ResNet, timm's with a projection behind it, and with one inside.
TOWERS = {
    "patches": _PATCHES,
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    "trunk": _TIMM | {"timm_proj": "linear"},
    "trunk-inside": _TIMM | {"timm_proj": ""},
}
#: Whether the embedding comes before a projection.
PROJECTED = {"patches": 16, "resnet": None, "trunk": 64, "trunk-inside": 64}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    """Models of open_clip with random values, and the folder with their configurations and weights."""
    folder = tmp_path_factory.mktemp("open_clip")
    for name, tower in TOWERS.items():
        config = {"embed_dim": 6, "vision_cfg": tower, "text_cfg": _TEXTS}
        (folder / f"tiny-{name}.json").write_text(json.dumps(config))
    library = source.import_open_clip()
    library.add_model_config(folder)
    made = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in TOWERS:
            made[name] = library.CLIP(**library.get_model_config(f"tiny-{name}")).eval()
            torch.save(made[name].state_dict(), folder / f"{name}.pt")
    yield made, folder
    for name in TOWERS:
        (folder / f"tiny-{name}.json").unlink()
        del library.factory._MODEL_CONFIGS[f"tiny-{name}"]
    library.factory._MODEL_CONFIG_PATHS.remove(folder)


def relative(rows, expected):
    return float((rows - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", TOWERS)
def test_a_row_is_that_of_open_clip(models, name):
    made, folder = models
    weights = folder / f"{name}.pt"
    embedding = load_backbone(f"open_clip:tiny-{name}", weights=weights)
    projected = load_backbone(f"open_clip:tiny-{name}", weights=weights, layer="projection")
    picture = scene(180, 170)
    transform = source.import_open_clip().image_transform(made[name].visual.image_size, is_train=False)
    pixels = transform(picture)[None]
    with torch.no_grad():
        expected = made[name].encode_image(pixels)
    assert relative(projected.module(pixels), expected) < 1e-6
    prepared = torch.from_numpy(projected.preprocessing(picture))[None]
    ours = projected.inputs.to_network(torch.device("cpu"), torch.float32)(prepared)
    assert float((ours - pixels).abs().max()) < 1.1 / 255 / 0.26
    assert (embedding.layer, embedding.dim) == ("embedding", PROJECTED[name] or 6)
    rows = embedding.module(pixels)
    if PROJECTED[name] is None:
        assert torch.equal(rows, expected)
    else:
        head = projected.module.network.projection
        torch.testing.assert_close(head(rows), expected)


def test_layers_name_the_blocks_and_tokens_are_known(models):
    made, folder = models
    weights = folder / "patches.pt"
    name = "open_clip:tiny-patches"
    layers = {layer.name: layer.dim for layer in list_layers(name, weights=weights)}
    assert list(layers) == [
        *("visual.ln_pre", "visual.transformer.resblocks.0", "visual.ln_post", "embedding", "projection"),
    ]
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    seen = []
    block = made["patches"].visual.transformer.resblocks[1]
    handle = block.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    made["patches"].encode_image(images)
    handle.remove()
    for pooling, expected in (("cls", seen[0][:, 0]), ("patches", seen[0][:, 1:].mean(1))):
        layer = "visual.transformer.resblocks.1"
        backbone = load_backbone(name, weights=weights, layer=layer, pooling=pooling)
        torch.testing.assert_close(backbone.module(images), expected)


@pytest.mark.parametrize(("name", "size"), [("patches", 48), ("trunk", 96)])
def test_another_image_size_resamples_the_position_embeddings(models, name, size):
    _, folder = models
    library = source.import_open_clip()
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    weights = folder / f"{name}.pt"
    backbone = load_backbone(f"open_clip:tiny-{name}", weights=weights, layer="projection", image_size=size)
    config = library.get_model_config(f"tiny-{name}")
    if name == "patches":
        config["vision_cfg"]["image_size"] = size
    other = library.CLIP(**config).eval()
    library.factory.load_checkpoint(other, weights)
    if name == "trunk":
        other.visual.set_input_size(size)
    torch.testing.assert_close(backbone.module(images), other.encode_image(images).detach())


def test_weights_of_another_tower_are_refused(models):
    _, folder = models
    with pytest.raises(WeightsError, match="does not fit tiny-patches"):
        load_backbone("open_clip:tiny-patches", weights=folder / "resnet.pt").build()
    with pytest.raises(WeightsError, match=r"visual\.attnpool\.positional_embedding has shape"):
        load_backbone("open_clip:tiny-resnet", weights=folder / "resnet.pt", image_size=64).build()


def test_a_configuration_of_ones_own_is_in_the_identity(models):
    _, folder = models
    backbone = load_backbone("open_clip:tiny-patches", weights=folder / "patches.pt")
    named = backbone.identity["architecture"]
    assert named.startswith("tiny-patches#")
    assert load_backbone(f"open_clip:{named}", weights=folder / "patches.pt").identity == backbone.identity
    with pytest.raises(InputError, match="is another one here"):
        load_backbone("open_clip:tiny-patches#0123", weights=None)
    assert source.OpenClipArchitecture("ViT-B-32").identity_name == "ViT-B-32"


class TestTags:
    @pytest.fixture
    def hub(self, models, monkeypatch):
        """Let the hub's cache hold the weights of one tag, and be out of reach for the rest."""
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError

        library = source.import_open_clip()
        stated = {
            "mine": {"hf_hub": "lab/tiny/", "resize_mode": "squash", "mean": (0.5,) * 3, "quick_gelu": True},
            "gone": {"hf_hub": "lab/gone/"},
        }
        monkeypatch.setitem(library.pretrained._PRETRAINED, "tiny-patches", stated)
        _, folder = models

        def find(repository, filename):
            found = repository == "lab/tiny" and filename == "open_clip_pytorch_model.bin"
            return str(folder / "patches.pt") if found else None

        def offline(repository, filename):
            raise LocalEntryNotFoundError("cannot reach the hub")

        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)

    def test_a_tag_brings_its_preprocessing_and_its_activation(self, hub, models):
        made, _ = models
        backbone = load_backbone("open_clip:tiny-patches/mine", layer="projection")
        assert backbone.identity["weights"] == "mine"
        assert load_backbone("open_clip:tiny-patches").weights_name == "mine"
        assert (backbone.preprocessing.resize, backbone.preprocessing.crop) == ((32, 32), None)
        assert backbone.preprocessing.mean == (0.5,) * 3
        library = source.import_open_clip()
        quick = library.CLIP(**library.get_model_config("tiny-patches"), quick_gelu=True).eval()
        quick.load_state_dict(made["patches"].state_dict())
        images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(backbone.module(images), quick.encode_image(images))

    def test_a_file_under_a_tag_has_its_preprocessing_and_its_activation(self, hub, models, monkeypatch):
        _, folder = models
        library = source.import_open_clip()
        ours = {"weights": folder / "resnet.pt", "layer": "projection"}
        config = library.get_model_config("tiny-resnet")
        stated = {"quick": {"hf_hub": "lab/q/", "mean": (0.5,) * 3, "quick_gelu": True}}
        monkeypatch.setitem(library.pretrained._PRETRAINED, "tiny-resnet", stated)
        with pytest.raises(InputError, match="no configuration tiny-resnet-quickgelu"):
            load_backbone("open_clip:tiny-resnet/quick", **ours)
        configs = library.factory._MODEL_CONFIGS
        monkeypatch.setitem(configs, "tiny-resnet-quickgelu", {**config, "quick_gelu": True})
        tagged = load_backbone("open_clip:tiny-resnet/quick", **ours)
        assert tagged.architecture.uses_quick_gelu(tagged.pretrained)
        assert tagged.preprocessing.mean == (0.5,) * 3
        plain = load_backbone("open_clip:tiny-resnet", **ours)
        assert tagged.identity["architecture"] != plain.identity["architecture"]
        assert load_backbone(**tagged.arguments).identity == tagged.identity

    def test_what_is_not_there_is_one_line(self, hub):
        with pytest.raises(WeightsError, match=r"lab/gone is not in the cache .*cannot reach the hub"):
            load_backbone("open_clip:tiny-patches/gone")
        with pytest.raises(
            UnknownName, match="unknown weights of open_clip:tiny-patches 'min'; did you mean"
        ):
            load_backbone("open_clip:tiny-patches/min")
        with pytest.raises(UnknownName, match="unknown backbone 'open_clip:ViT-B-33'"):
            load_backbone("open_clip:ViT-B-33")

    def test_published_tags_are_those_of_open_clip(self):
        architecture = source.OpenClipArchitecture("ViT-B-16-SigLIP")
        (weights,) = architecture.published()
        assert (weights.name, weights.hub_id) == ("webli", "timm/ViT-B-16-SigLIP")
        assert weights.hub_files == ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        assert (weights.preprocessing.resize, weights.preprocessing.mean) == ((224, 224), (0.5,) * 3)
        (openai, *_) = source.OpenClipArchitecture("ViT-B-32").published()
        assert openai.name == "openai"
        assert source.OpenClipArchitecture("ViT-B-32").uses_quick_gelu(openai)


@pytest.mark.parametrize(("name", "layer"), [("patches", None), ("patches", "projection"), ("resnet", None)])
def test_zero_shot_logits_are_those_of_open_clip(models, name, layer):
    made, folder = models
    backbone = load_backbone(f"open_clip:tiny-{name}", weights=folder / f"{name}.pt", layer=layer)
    assert has_text_tower(backbone)
    classifier = make_zero_shot_classifier(backbone, ["cat", "tabby_cat"])
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = source.import_open_clip().tokenize(["a photo of a cat.", "a photo of a tabby cat."])
    with torch.no_grad():
        expected, _ = made[name].get_logits(images, tokens)
    found = classifier.logits(backbone.module(images).numpy())
    torch.testing.assert_close(torch.from_numpy(found).float(), expected, rtol=1e-4, atol=1e-4)


def test_without_open_clip_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtra, match=r"pip install 'featx\[open-clip\]'"):
        source.import_open_clip()
