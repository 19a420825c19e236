"""Networks of transformers: rows as transformers computes them, files, identity, and what is refused."""

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from pictures import scene

from featx.backbones import list_layers, load_backbone
from featx.errors import InputError, MissingExtra, UnknownName, WeightsError

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)

from safetensors.torch import load_file, save_file
from tiny_transformers import TINY, build, processor, save, save_tokenizer

from featx.backbones.sources.hf import HfArchitecture
from featx.backbones.sources.hf.networks import import_transformers, quiet
from featx.backbones.sources.hf.preprocessing import read_preprocessing
from featx.backbones.zero_shot import has_text_tower, make_zero_shot_classifier
from featx.cli import main

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def networks():
    return {}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, networks):
    """``folders("vit")`` is a folder with a tiny random ViT, which `networks` holds."""
    made = {}

    def folder(model_type):
        if model_type not in made:
            networks[model_type] = build(model_type)
            made[model_type] = save(networks[model_type], tmp_path_factory.mktemp(model_type))
        return made[model_type]

    return folder


def copy_of(folder, tmp_path, **changes):
    """Copy a folder, with other settings in its config.json."""
    copied = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copied / "config.json").read_text()) | changes
    (copied / "config.json").write_text(json.dumps(config))
    return copied


def own_embedding(network, pixels):
    """What an image classifier of transformers takes, or what the papers on CLIP and SigLIP take."""
    out = getattr(network, "vision_model", network)(pixel_values=pixels)
    return out.last_hidden_state[:, 0] if network.config.model_type == "vit" else out.pooler_output


def relative(rows, expected):
    return float((rows - expected).norm() / expected.norm())


@pytest.mark.parametrize("model_type", TINY)
def test_a_row_is_that_of_transformers(folders, networks, model_type):
    backbone = load_backbone(f"hf:{folders(model_type)}")
    network = networks[model_type]
    picture = scene(104, 120)
    pixels = processor(model_type)(images=picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = own_embedding(network, pixels)
    assert (backbone.layer, backbone.pooling, backbone.dim) == ("embedding", "identity", expected.shape[1])
    assert relative(backbone.module(pixels), expected) < 1e-6
    prepared = torch.from_numpy(backbone.preprocessing(picture))[None]
    ours = backbone.inputs.to_network(torch.device("cpu"), torch.float32)(prepared)
    assert float((ours - pixels).abs().max()) < 2.1 / 255 / min(backbone.preprocessing.std)
    assert relative(backbone.module(ours), expected) < 5e-3


def test_layers_name_the_blocks(folders):
    layers = {layer.name: layer.dim for layer in list_layers(f"hf:{folders('clip')}")}
    assert layers == {
        "vision_model.pre_layrnorm": 8,
        "vision_model.encoder.layers.0": 8,
        "vision_model.post_layernorm": 8,
        "embedding": 8,
        "visual_projection": 6,
    }
    assert load_backbone(f"hf:{folders('swin')}", layer="encoder.layers.0").dim == 8


def test_tokens_are_pooled_without_registers(folders, networks):
    name = f"hf:{folders('dinov2_with_registers')}"
    tokens = networks["dinov2_with_registers"](IMAGES).last_hidden_state.detach()
    both = torch.cat([tokens[:, 0], tokens[:, 3:].mean(1)], 1)  # 1 class token, 2 registers
    poolings = {"cls": both[:, :8], "patches": both[:, 8:], "cls+patches": both, "avg": tokens.mean(1)}
    for pooling, expected in poolings.items():
        backbone = load_backbone(name, layer="layernorm", pooling=pooling)
        torch.testing.assert_close(backbone.module(IMAGES), expected)
    with pytest.raises(InputError, match="without a class token"):
        load_backbone(f"hf:{folders('siglip')}", layer="post_layernorm", pooling="cls")


@pytest.mark.parametrize("model_type", ["vit", "dinov2_with_registers"])
def test_another_image_size_interpolates_the_position_embeddings(folders, networks, model_type):
    backbone = load_backbone(f"hf:{folders(model_type)}", image_size=48)
    larger = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    options = {} if model_type.startswith("dino") else {"interpolate_pos_encoding": True}
    out = networks[model_type](pixel_values=larger, **options)
    expected = out.last_hidden_state[:, 0] if model_type == "vit" else out.pooler_output
    torch.testing.assert_close(backbone.module(larger), expected.detach())


def test_the_projection_is_a_layer(folders, networks):
    backbone = load_backbone(f"hf:{folders('clip')}", layer="projection")
    expected = networks["clip"].get_image_features(pixel_values=IMAGES).pooler_output.detach()
    torch.testing.assert_close(backbone.module(IMAGES), expected)
    assert (backbone.layer, backbone.dim) == ("visual_projection", 6)
    with pytest.raises(UnknownName, match="projection"):
        load_backbone(f"hf:{folders('vit')}", layer="projection")


class TestPoolers:
    """A pooler that is not in the weights would be random."""

    def test_a_classifier_saved_without_pooler_gives_the_class_token(self, folders, tmp_path):
        assert load_backbone(f"hf:{folders('vit')}", layer="pooler").dim == 8
        classifier = build("vit", "ViTForImageClassification")
        name = f"hf:{save(classifier, tmp_path)}"
        expected = classifier.vit(IMAGES).last_hidden_state[:, 0].detach()
        torch.testing.assert_close(load_backbone(name).module(IMAGES), expected)
        with pytest.raises(UnknownName, match="pooler"):
            load_backbone(name, layer="pooler")

    def test_beit_without_the_norm_of_its_pooler_gives_the_mean_of_patches(self, folders, networks, tmp_path):
        copied = copy_of(folders("beit"), tmp_path)
        tensors = load_file(copied / "model.safetensors")
        save_file({k: v for k, v in tensors.items() if "pooler" not in k}, copied / "model.safetensors")
        expected = networks["beit"](IMAGES).last_hidden_state[:, 1:].mean(1).detach()
        torch.testing.assert_close(load_backbone(f"hf:{copied}").module(IMAGES), expected)

    def test_an_image_tower_without_projection_has_no_such_layer(self, folders, tmp_path):
        copied = copy_of(folders("clip"), tmp_path)
        tensors = load_file(copied / "model.safetensors")
        save_file({k: v for k, v in tensors.items() if "projection" not in k}, copied / "model.safetensors")
        same = load_backbone(f"hf:{folders('clip')}").module(IMAGES)
        assert torch.equal(load_backbone(f"hf:{copied}").module(IMAGES), same)
        with pytest.raises(UnknownName, match="projection"):
            load_backbone(f"hf:{copied}", layer="projection")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layernorm.weight"), r"it lacks layernorm\.weight"),
        (lambda t: t.update({"layernorm.weight": torch.ones(5)}), r"has shape \(5,\) and should have \(8,\)"),
        (lambda t: t.update({"embeddings.extra": torch.ones(5)}), r"it also holds embeddings\.extra"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folders, tmp_path, change, message):
    copied = copy_of(folders("dinov2_with_registers"), tmp_path)
    tensors = load_file(copied / "model.safetensors")
    change(tensors)
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_backbone(f"hf:{copied}").build()


class TestFiles:
    def test_several_files_and_pickles_give_the_same_rows(self, folders, networks, tmp_path):
        expected = load_backbone(f"hf:{folders('vit')}").module(IMAGES)
        several = save(networks["vit"], tmp_path / "several", max_shard_size="2KB")
        assert not (several / "model.safetensors").exists()
        backbone = load_backbone(f"hf:{several}")
        assert torch.equal(backbone.module(IMAGES), expected)
        assert len(backbone.weights_sha256) == 64
        pickled = copy_of(folders("vit"), tmp_path)
        torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
        (pickled / "model.safetensors").unlink()
        assert torch.equal(load_backbone(f"hf:{pickled}").module(IMAGES), expected)

        shard = sorted(several.glob("*.safetensors"))[0]
        shard.write_bytes(shard.read_bytes()[:-8] + bytes(8))
        with pytest.raises(WeightsError, match="changed after it was checked"):
            backbone.build()
        shard.unlink()
        with pytest.raises(WeightsError, match=f"{shard.name} of .* is not on this machine"):
            load_backbone(f"hf:{several}")
        index = several / "model.safetensors.index.json"
        index.write_text('{"weight_map": {"a": "../model.safetensors"}}')
        with pytest.raises(WeightsError, match="not an index"):
            load_backbone(f"hf:{several}")

    def test_a_file_of_ones_own_replaces_the_weights(self, folders, tmp_path):
        copied = copy_of(folders("vit"), tmp_path)
        (copied / "model.safetensors").rename(tmp_path / "mine.safetensors")
        with pytest.raises(WeightsError, match="no weights are published for it; give weights=PATH"):
            load_backbone(f"hf:{copied}")
        backbone = load_backbone(f"hf:{copied}", weights=tmp_path / "mine.safetensors")
        assert torch.equal(backbone.module(IMAGES), load_backbone(f"hf:{folders('vit')}").module(IMAGES))
        assert backbone.identity["weights"] == "checkpoint"

    def test_random_weights_need_no_file(self, folders):
        assert load_backbone(f"hf:{folders('vit')}", weights=None, seed=3).module(IMAGES).shape == (2, 8)

    def test_a_folder_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"hf:/.*gone: its config\.json .* \(no such folder\)"):
            load_backbone(f"hf:{tmp_path}/gone")
        with pytest.raises(InputError, match=r"config\.json .* \(no such file\)"):
            load_backbone(f"hf:{tmp_path}", weights=None)


class TestIdentity:
    def test_it_names_the_configuration_and_not_the_folder(self, folders, tmp_path):
        here = load_backbone(f"hf:{folders('vit')}").identity
        assert here["architecture"].startswith("vit#")
        assert here["weights"] == "pretrained"
        assert "/" not in json.dumps(here)
        moved = copy_of(folders("vit"), tmp_path, id2label={"0": "cat"})
        assert load_backbone(f"hf:{moved}").identity == here

    def test_a_setting_of_the_network_changes_it(self, folders, tmp_path):
        other = copy_of(folders("vit"), tmp_path, layer_norm_eps=1e-3)
        assert load_backbone(f"hf:{other}").identity != load_backbone(f"hf:{folders('vit')}").identity

    def test_the_arguments_load_it_again(self, folders):
        backbone = load_backbone(f"hf:{folders('clip')}", layer="projection")
        assert load_backbone(**backbone.arguments).identity == backbone.identity


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "mine", "auto_map": {"AutoModel": "m.Mine"}},
            "names code of its own .auto_map.",
        ),
        ({"model_type": "dinov9"}, "unknown model_type .* 'dinov9'; did you mean dinov2"),
        ({"model_type": "bert"}, "no tokenizer is with it"),
        ({}, "model_type in the config of hf:.* must be a name"),
    ],
)
def test_what_is_no_image_network_is_refused_without_running_code(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    given = {"size": {"height": 32, "width": 32}, "image_processor_type": "ViTImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(given))
    (tmp_path / "m.py").write_text("raise SystemExit")
    with pytest.raises(InputError, match=message):
        load_backbone(f"hf:{tmp_path}", weights=None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden_size": 10**9}, r"asks for \d+ values, and its weights hold \d+ bytes"),
        ({"image_size": 10**6}, r"asks for \d+ values, and its weights hold \d+ bytes"),
        ({"num_hidden_layers": 10**6}, r"asks for 1000000 layers, and its weights hold \d+ tensors"),
        ({"patch_size": 0}, "no network can be built of its config"),
        ({"model_type": "timm_backbone", "backbone": "hf-hub:lab/net"}, "names a network elsewhere"),
    ],
)
def test_a_config_that_asks_for_more_than_its_weights_is_refused_unbuilt(folders, tmp_path, settings, said):
    other = copy_of(folders("vit"), tmp_path, **settings)
    with pytest.raises(InputError, match=said):
        load_backbone(f"hf:{other}")


def test_a_config_cannot_name_code_or_fill_memory_with_labels(folders, tmp_path):
    given = {"attn_implementation": "lab/kernel", "_attn_implementation": "lab/kernel", "num_labels": 10**10}
    other = copy_of(folders("clip"), tmp_path, **given)
    config = json.loads((other / "config.json").read_text())
    config["vision_config"] |= given
    (other / "config.json").write_text(json.dumps(config))
    assert load_backbone(f"hf:{other}").dim == load_backbone(f"hf:{folders('clip')}").dim


def test_damaged_files_beside_the_weights_are_one_error(folders, tmp_path):
    other = copy_of(folders("vit"), tmp_path)
    with (other / "README.md").open("wb") as card:
        card.truncate(2**42)
    assert load_backbone(f"hf:{other}").about == {}
    (other / "model.safetensors").write_bytes((3).to_bytes(8, "little") + b"[1]")
    with pytest.raises(WeightsError, match="a header that is a list"):
        load_backbone(f"hf:{other}")
    (other / "model.safetensors").unlink()
    for name in ("x" * 500 + ".safetensors", "\x1b[31m.safetensors"):
        index = json.dumps({"weight_map": {"a": name}})
        (other / "model.safetensors.index.json").write_text(index)
        with pytest.raises(WeightsError):
            load_backbone(f"hf:{other}")
    (other / "model.safetensors.index.json").unlink()
    (other / "config.json").write_text('{"model_type": "vit", "a": ' + "[" * 900 + "]" * 900 + "}")
    with pytest.raises(InputError, match=r"config\.json: damaged .*nested more than 50 deep"):
        load_backbone(f"hf:{other}", weights=None)


@pytest.mark.parametrize("name", ["hf:", "onnx:", "openvino:"])
@pytest.mark.parametrize("file", ["x" * 300 + ".xml", "~nobody-of-that-name/x.xml"])
def test_a_name_that_cannot_be_a_path_is_one_error(name, file):
    with pytest.raises(InputError, match=r"no such|could not be downloaded"):
        load_backbone(name + file)


class TestPreprocessing:
    @pytest.mark.parametrize("odd", [{"image_mean": "abc"}, {"resample": "x"}, {"rescale_factor": 0}])
    def test_values_of_another_kind_are_one_error(self, odd):
        with pytest.raises(InputError, match="its configuration cannot be used"):
            read_preprocessing({"size": {"height": 9, "width": 8}} | odd, "vit", "vit")

    def test_processors_of_old_files(self):
        old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3}
        ours = read_preprocessing(old, "clip", "clip")
        assert (ours.resize, ours.crop, ours.interpolation) == (224, (224, 224), "bicubic")
        assert read_preprocessing({"size": {"height": 9, "width": 8}}, "vit", "vit").size == (9, 8)

    @pytest.mark.parametrize(("edge", "resize", "crop"), [(224, 256, (224, 224)), (384, (384, 384), None)])
    def test_convnext_crops_small_images_only(self, edge, resize, crop):
        given = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": edge}}
        ours = read_preprocessing(given | {"crop_pct": 0.875}, "convnext", "convnext")
        assert (ours.resize, ours.crop) == (resize, crop)

    def test_another_factor_of_rescaling_goes_into_mean_and_std(self, tmp_path):
        given = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
        given |= {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]}
        ours = read_preprocessing(given, "vit", "vit")
        np.testing.assert_allclose([ours.mean, ours.std], 0.5)
        plain = read_preprocessing(given | {"do_normalize": False, "do_rescale": False}, "vit", "vit")
        np.testing.assert_allclose([plain.mean, plain.std], [[0] * 3, [1 / 255] * 3])

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"image_processor_type": "MobileViTImageProcessor"}, "what MobileViTImageProcessor does"),
            ({"do_pad": True, "size": {"height": 8, "width": 8}}, "it pads"),
            ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "resizes to .*longest_edge"),
            ({"size": {"shortest_edge": 8}}, "different sizes"),
        ],
    )
    def test_what_it_cannot_be_is_refused_in_one_line(self, given, message):
        with pytest.raises(InputError, match=f"^hf:x: its preprocessing .*{message}.*give preprocessing=$"):
            read_preprocessing({"image_processor_type": "ViTImageProcessor"} | given, "vit", "hf:x")

    def test_it_can_be_given(self, folders, tmp_path):
        copied = copy_of(folders("vit"), tmp_path)
        (copied / "preprocessor_config.json").unlink()
        with pytest.raises(
            InputError, match=r"no preprocessor_config\.json is with it; .*give preprocessing="
        ):
            load_backbone(f"hf:{copied}")
        given = load_backbone(f"hf:{folders('vit')}").preprocessing
        assert load_backbone(f"hf:{copied}", preprocessing=given).preprocessing == given


class TestHub:
    @pytest.fixture
    def hub(self, tmp_path, monkeypatch):
        """A cache of the hub of our own, without a network; calling it adds a folder as a repository."""
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError

        def find(repository, filename):
            path = tmp_path / "hub" / repository.replace("/", "--") / filename
            return str(path) if path.is_file() else None

        def offline(repository, filename):
            raise LocalEntryNotFoundError("cannot reach the hub\nand more")

        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
        return lambda name, folder: shutil.copytree(folder, tmp_path / "hub" / name.replace("/", "--"))

    def test_a_repository_in_the_cache_is_found(self, hub, folders):
        cached = hub("lab/tiny", folders("vit"))
        (cached / "README.md").write_text("---\ntags:\n- vision\nlicense: apache-2.0\n---\nTiny.\n")
        backbone = load_backbone("hf:lab/tiny")
        assert backbone.identity["architecture"].startswith("lab/tiny#")
        assert backbone.pretrained.licence == "apache-2.0"
        (cached / "README.md").write_text("# Tiny\n\nlicense: none\n")
        assert load_backbone("hf:lab/tiny").pretrained.licence is None
        again = load_backbone("hf:" + backbone.identity["architecture"])
        assert again.identity == backbone.identity
        (cached / "config.json").write_text((cached / "config.json").read_text().replace("gelu", "relu"))
        with pytest.raises(InputError, match="is another one here"):
            load_backbone("hf:" + backbone.identity["architecture"])

    def test_its_sha256_is_checked(self, hub, folders):
        path = hub("lab/tiny", folders("vit")) / "model.safetensors"
        good = load_backbone("hf:lab/tiny").weights_sha256
        blob = path.rename(path.with_name(good))
        path.symlink_to(blob)
        assert load_backbone("hf:lab/tiny").weights_sha256 == good
        path.unlink()
        path.symlink_to(blob.rename(blob.with_name("0" * 64)))
        with pytest.raises(WeightsError, match="its sha256 should begin with 0000"):
            load_backbone("hf:lab/tiny")

    def test_old_weights_are_downloaded_where_there_are_no_others(self, hub, folders, monkeypatch):
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError

        cached = hub("lab/tiny", folders("vit"))
        elsewhere = cached.parent / "pytorch_model.bin"
        torch.save(load_file(cached / "model.safetensors"), elsewhere)
        (cached / "model.safetensors").unlink()

        def download(repository, filename):
            if filename != elsewhere.name:
                raise EntryNotFoundError(f"no {filename}")
            return str(elsewhere.rename(cached / filename))

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        monkeypatch.setattr("featx.backbones.hugging_face._find_address", lambda: True)
        backbone = load_backbone("hf:lab/tiny")
        assert backbone.checkpoint.path.name == "pytorch_model.bin"
        assert load_backbone("hf:lab/tiny").identity == backbone.identity

    def test_a_hub_that_cannot_be_reached_is_one_line(self, hub):
        with pytest.raises(InputError) as caught:
            load_backbone("hf:lab/gone")
        assert "hf:lab/gone: its config.json" in str(caught.value)
        assert "cannot reach the hub" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_hub_without_an_address_is_not_tried_for_half_a_minute(self, hub, monkeypatch):
        import huggingface_hub

        tried = []
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: tried.append(names))
        monkeypatch.setattr("featx.backbones.hugging_face._find_address", lambda: False)
        with pytest.raises(InputError, match=r"could not be downloaded \(cannot reach the hub\)$"):
            load_backbone("hf:lab/gone")
        assert not tried


CLASSES = ("crimson", "green_leaf", "sky")


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model(request, networks, folders, tmp_path_factory):
    """A network of images and texts, and its folder, with a tokenizer."""
    folder = shutil.copytree(folders(request.param), tmp_path_factory.mktemp("texts") / request.param)
    return networks[request.param], save_tokenizer(folder, "a photo of . crimson green leaf sky")


class TestTexts:
    def test_logits_are_those_of_transformers(self, model):
        network, folder = model
        with quiet() as transformers:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        prompts = ["a photo of a crimson.", "a photo of a green leaf.", "a photo of a sky."]
        if network.config.model_type == "siglip":
            tokens = tokenizer(prompts, padding="max_length", max_length=16, return_tensors="pt")
            tokens = {"input_ids": tokens["input_ids"]}
        else:
            tokens = tokenizer(prompts, padding=True, return_tensors="pt")
        with torch.no_grad():
            expected = network(pixel_values=IMAGES, **tokens).logits_per_image
        for layer in (None, "projection") if network.config.model_type == "clip" else (None,):
            backbone = load_backbone(f"hf:{folder}", layer=layer)
            assert has_text_tower(backbone)
            classifier = make_zero_shot_classifier(backbone, CLASSES)
            rows = backbone.module(IMAGES).numpy()
            np.testing.assert_allclose(classifier.logits(rows), expected, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(classifier.predict_proba(rows), expected.softmax(1), atol=1e-5)
            halved = classifier.logits(rows.astype(np.float16))
            np.testing.assert_allclose(halved, expected, rtol=0.02, atol=0.02)

    def test_without_tokenizer_or_weights_there_is_no_text_tower(self, folders, tmp_path):
        layer = "vision_model.post_layernorm"
        other = load_backbone(f"hf:{folders('clip')}", layer=layer)
        assert not has_text_tower(other)
        assert make_zero_shot_classifier(other, CLASSES) is None  # that layer leads nowhere
        assert not has_text_tower(load_backbone(f"hf:{folders('vit')}"))
        folder = save_tokenizer(copy_of(folders("clip"), tmp_path), "a photo of a")
        assert not has_text_tower(load_backbone(f"hf:{folder}", weights=None))

    def test_damaged_texts_are_one_line(self, folders, tmp_path):
        copied = save_tokenizer(copy_of(folders("clip"), tmp_path), "a photo of a")
        tensors = load_file(copied / "model.safetensors")
        del tensors["text_model.final_layer_norm.weight"]
        save_file(tensors, copied / "model.safetensors")
        with pytest.raises(InputError, match=r"lack text_model\.final_layer_norm\.weight"):
            make_zero_shot_classifier(load_backbone(f"hf:{copied}"), CLASSES)
        (copied / "tokenizer.json").write_text("{")
        shutil.copy(folders("clip") / "model.safetensors", copied)
        with pytest.raises(InputError, match=r"hf:.*: its text tower cannot be used"):
            make_zero_shot_classifier(load_backbone(f"hf:{copied}"), CLASSES)


def test_a_comparison_from_the_command_line_has_a_zero_shot_row(folders, photos, tmp_path, capsys):
    folder = save_tokenizer(copy_of(folders("clip"), tmp_path), "a photo of . crimson leaf sky")
    out = tmp_path / "out"
    command = ["compare", str(photos), "--backbone", f"hf:{folder}", "--classifiers", "ridge"]
    command += [
        "--baseline",
        "none",
        "--no-checks",
        "--engine",
        "torch",
        "--precision",
        "fp32",
        "--output",
        str(out),
    ]
    assert main(command) == 0
    methods = json.loads((out / "results.json").read_text())["methods"]
    (row,) = (method for method in methods if method["name"] == "zero-shot")
    assert (row["kind"], row["backbone"], row["image_size"]) == ("floor", f"hf:{folder}", 32)
    assert row["params"]["template"] == "a photo of a {class}."
    assert "Zero-shot (reference)" in capsys.readouterr().out


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'featx\[transformers\]'"):
        import_transformers()


def test_looking_at_an_architecture_reads_nothing():
    assert HfArchitecture("lab/gone") == HfArchitecture("lab/gone")
