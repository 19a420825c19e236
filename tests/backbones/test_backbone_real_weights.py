"""Weights that packages of the index carry, where they are installed."""

import importlib.util

import numpy as np
import pytest
import torch
from clips import RATE, import_transformers, sounds
from PIL import Image

from featx.backbones import load_backbone, load_classifier
from featx.backbones.weights import PACKAGES, carried_folder, packaged_files
from featx.engines import make_engine
from featx.inputs.audio import SampledClip
from featx.vision import import_torchvision

LITES = {
    "timm:tf_efficientnet_lite0": "efficientnet-lite0-57934424.pth",
    "timm:tf_efficientnet_lite1": "efficientnet-lite1-77cc7160.pth",
    "timm:tf_efficientnet_lite2": "efficientnet-lite2-9656183e.pth",
}


def need(filename):
    if filename not in packaged_files():
        pytest.skip(f"{filename} is not installed (pip install {PACKAGES[filename]})")


def photographs():
    """Smooth random scenes of several shapes; pure noise would exaggerate rounding in the resize."""
    rng = np.random.default_rng(0)
    for size in ((500, 375), (300, 451), (224, 224), (640, 256)):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        yield coarse.resize(size, Image.Resampling.BICUBIC)


def test_mobilenet_gives_torchvisions_own_embeddings():
    """torchvision's transforms and feature extraction, with the same file, are the reference."""
    need("mobilenet_v2-b0353104.pth")
    models = import_torchvision().models
    from torchvision.models.feature_extraction import create_feature_extractor

    backbone = load_backbone("mobilenet_v2")
    assert backbone.weights_name == "IMAGENET1K_V1"
    assert backbone.weights_sha256.startswith("b03531047ffacf1e")
    network = models.mobilenet_v2()
    network.load_state_dict(torch.load(backbone.checkpoint.path, weights_only=True))
    extractor = create_feature_extractor(network.eval(), {"flatten": "row"})
    transforms = models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    images = list(photographs())
    with torch.no_grad():
        expected = extractor(torch.stack([transforms(image) for image in images]))["row"].numpy()
    rows = make_engine(backbone, device="cpu")(np.stack([backbone.preprocessing(image) for image in images]))
    assert rows.shape == (4, 1280)
    assert np.abs(rows - expected).mean() / np.abs(expected).mean() < 2e-2


def test_another_member_of_the_enum_is_not_taken_in_its_place():
    need("mobilenet_v2-b0353104.pth")
    assert load_backbone("mobilenet_v2", weights="IMAGENET1K_V1").weights_name == "IMAGENET1K_V1"


def test_the_classifier_of_mobilenet_is_complete():
    need("mobilenet_v2-b0353104.pth")
    network = load_classifier("mobilenet_v2")
    backbone = load_backbone("mobilenet_v2")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(network.classifier(backbone.module(images)), network(images), atol=1e-5)
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", LITES)
def test_lite_networks_take_their_package_tensor_by_tensor(name):
    need(LITES[name])
    backbone = load_backbone(name)
    network = load_classifier(name)
    given = [v for k, v in backbone.checkpoint.state_dict().items() if not k.endswith("tracked")]
    own = [v for k, v in network.state_dict().items() if not k.endswith("tracked")]
    assert len(given) == len(own)
    assert all(torch.equal(a, b) for a, b in zip(given, own, strict=True))
    assert backbone.weights_name == LITES[name]
    assert backbone.dim == 1280


def test_fine_tuning_starts_from_the_pretrained_values():
    need("mobilenet_v2-b0353104.pth")
    backbone = load_backbone("mobilenet_v2", image_size=32)
    built = backbone.build().state_dict()
    assert all(torch.equal(v, built[k]) for k, v in backbone.module.state_dict().items())


@torch.inference_mode()
def test_whisper_gives_the_states_of_transformers_encoder():
    """transformers' extractor and encoder, with 30 seconds as its authors take them, are the reference."""
    name = "hf:openai/whisper-tiny.en"
    if carried_folder(name.removeprefix("hf:")) is None:
        pytest.skip(f"{name} is in no installed package")
    backbone = load_backbone(name, preprocessing={"pad": True})
    transformers = import_transformers()
    encoder = transformers.models.whisper.modeling_whisper.WhisperEncoder(
        transformers.WhisperConfig(
            d_model=384,
            encoder_layers=4,
            encoder_attention_heads=6,
            encoder_ffn_dim=1536,
            num_mel_bins=80,
        )
    ).eval()
    encoder.load_state_dict(backbone.checkpoint.state_dict())
    sound = sounds(1)[0][:8000]
    extract = transformers.WhisperFeatureExtractor()
    features = extract(sound, sampling_rate=RATE, return_tensors="pt").input_features
    states = encoder(features).last_hidden_state[:, :25]
    prepared = backbone.preparation.prepare(SampledClip("a", sound, RATE).read())
    row = backbone.module(torch.tensor(prepared))
    torch.testing.assert_close(row, states.mean(1), atol=1e-4, rtol=0)
