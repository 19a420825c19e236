"""A tiny backbone and easy images, so that a whole fine-tuning takes a fraction of a second."""

from functools import cached_property

import numpy as np
import pytest
import torch
from torch import nn

from featx.backbones import Backbone
from featx.backbones.architectures import Architecture
from featx.backbones.layers.pooling import Tap
from featx.inputs.image import PixelImage, Preprocessing


class TinyNet(nn.Module):
    """Three convolution blocks with BatchNorm, one of them residual, and a Dropout; 8 features."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(0.5)
        self.top = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))

    def forward(self, x):
        x = self.stem(x)
        x = self.drop(x + self.middle(x))
        return torch.relu(self.top(x)).mean((2, 3))


class UntraceableNet(TinyNet):
    def forward(self, x):
        return super().forward(x) * (2.0 if x.mean() > 1e9 else 1.0)


class TinyBackbone:
    name = "tiny"
    dim = 8
    preprocessing = Preprocessing(resize=(16, 16), crop=None)

    def __init__(self, net=TinyNet):
        self.net = net

    def build(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            module = self.net()
            for layer in module.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.running_mean.uniform_(-0.1, 0.1)
                    layer.running_var.uniform_(0.05, 0.2)
        return module.eval()

    @cached_property
    def module(self):
        return self.build().requires_grad_(False)

    def blocks(self, module):
        return [["stem"], ["middle"], [module.top]]


class TinyClassifier(TinyNet):
    """TinyNet with a classifier of five source classes, whose scores differ from image to image."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)
        nn.init.normal_(self.fc.weight, std=3.0)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.05, 0.2)

    def forward(self, x):
        return self.fc(super().forward(x))


class TinyArchitecture(Architecture):
    source = "torchvision"

    def __init__(self):
        super().__init__("tiny")

    def build(self, pretrained, *, pretrained_style):
        return TinyClassifier()


@pytest.fixture
def classifier():
    """A backbone cut below the classifier that its network has."""
    return Backbone(
        name="tiny",
        weights_name=None,
        weights_sha256="0",
        tap=Tap("mean", "identity"),
        dim=8,
        preprocessing=Preprocessing(resize=(16, 16), crop=None),
        architecture=TinyArchitecture(),
        seed=7,
    )


@pytest.fixture(scope="session")
def proxies():
    """40 images unlike the stripes, of one noisy colour each."""
    rng = np.random.default_rng(5)
    colours = rng.integers(30, 226, (40, 1, 1, 3))
    pixels = (colours + rng.normal(0, 30, (40, 20, 20, 3))).clip(0, 255).astype(np.uint8)
    return [PixelImage(f"proxy {i}", one) for i, one in enumerate(pixels)]


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """Compute in float32 as the references do, also on a machine with bfloat16."""
    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)


@pytest.fixture
def tiny():
    return TinyBackbone()


@pytest.fixture
def untraceable():
    return TinyBackbone(UntraceableNet)


@pytest.fixture(scope="session")
def stripes():
    """(sources, labels): 60 images of three kinds, with coloured horizontal, vertical or no stripes."""
    rng = np.random.default_rng(0)
    sources, labels = [], np.arange(60) % 3
    for i, label in enumerate(labels):
        wave = 60 * np.sin(np.arange(20) * 1.5 + rng.uniform(0, 6))
        pixels = np.full((20, 20, 3), 128.0) + rng.normal(0, 20, (20, 20, 3))
        if label == 0:
            pixels[..., 0] += wave[:, None]
        elif label == 1:
            pixels[..., 1] += wave[None, :]
        sources.append(PixelImage(f"{i}", pixels.clip(0, 255).astype(np.uint8)))
    return sources, labels


class Poison:
    """An image that must never be looked at."""

    id = "poison"

    def read(self):
        raise AssertionError("an image outside of the training and validation parts was read")


@pytest.fixture
def poison():
    return Poison()
