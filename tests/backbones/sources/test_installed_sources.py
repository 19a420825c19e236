"""Backbones of other packages, by entry points; broken packages and taken prefixes are refused by name."""

import importlib
import sys
import textwrap

import numpy as np
import pytest

import featx
from featx.backbones import list_backbones, list_layers, load_backbone
from featx.backbones.sources import backbone_name
from featx.cli import main
from featx.errors import InputError, UnknownName

TOY = """
    import torch
    from torch import nn
    import featx
    from featx.backbones import Architecture, BackboneSource, Facts, LayerRules

    class Colours(nn.Module):
        '''The mean colour, and a classifier on it.'''

        def __init__(self):
            super().__init__()
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(torch.flatten(self.pool(x), 1))

    class ToyArchitecture(Architecture):
        source = "toy"

        def build(self, pretrained, *, pretrained_style):
            return Colours()

        def preprocessing(self):
            return featx.Preprocessing(resize=(8, 8), crop=None, mean=(0, 0, 0), std=(1, 1, 1))

    class ToySource(BackboneSource):
        name = "toy"
        facts = {"colours": Facts("flatten", "identity", 3, 8)}

        def architecture(self, name):
            return ToyArchitecture(name)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package as pip would, offline: its module, and a .dist-info with an entry point."""

    def put(name, target, code="", package="toy_networks"):
        (tmp_path / f"{package}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[featx.backbones]\n{name} = {package}:{target}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, package, raising=False)
        importlib.invalidate_caches()

    return put


def test_a_backbone_of_another_package_is_extracted_by_its_name(install):
    install("toy", "ToySource", TOY)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0] = 255, 0, 51
    rows = featx.extract(images, backbone="toy:colours", weights=None, engine="eager", device="cpu")
    np.testing.assert_allclose(rows.embeddings, [[1, 0, 0.2], [0, 0, 0]], atol=1e-6)
    backbone = load_backbone("toy:colours", weights=None)
    assert backbone.identity["source"] == "toy"
    assert backbone_name("toy", "colours") == backbone.name == "toy:colours"
    assert [layer.name for layer in list_layers("toy:colours", weights=None)] == ["flatten", "logits"]


def test_it_is_listed_beside_the_built_in_ones(install):
    install("toy", "ToySource", TOY)
    (info,) = list_backbones("toy:*")
    assert (info.dim, info.parameters, info.top1, info.weights_available) == (3, 8, None, False)
    assert any(info.name == "resnet18" for info in list_backbones())


def test_its_hint_stands_below_the_list(install, capsys):
    install("toy", "ToySource", TOY.replace("facts =", "hint = 'toy:NAME paints'; facts ="))
    assert main(["backbones", "toy:*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["toy:colours", "3"]
    assert lines[-1] == "toy:NAME paints"
    assert main(["backbones"]) == 0
    assert any(line.split()[:2] == ["toy", "1"] for line in capsys.readouterr().out.splitlines())


def test_an_unknown_network_of_it_is_refused_by_name(install):
    install("toy", "ToySource", TOY)
    with pytest.raises(UnknownName, match="unknown backbone 'toy:colour'; did you mean toy:colours"):
        load_backbone("toy:colour", weights=None)


@pytest.mark.parametrize(
    ("name", "target", "code", "reason"),
    [
        ("toy", "ToySource", "raise RuntimeError('no licence')", r"cannot be loaded .*no licence"),
        ("toy", "ToySource", "raise SystemExit(0)", "cannot be loaded"),
        ("toy", "Missing", TOY, r"cannot be loaded .*Missing"),
        ("toy", "featx", TOY, "expected a BackboneSource with name 'toy', got a module"),
        ("lab", "ToySource", TOY, "expected a BackboneSource with name 'lab', got name 'toy'"),
        ("timm", "ToySource", TOY, "prefix 'timm:' belongs to another source"),
    ],
)
def test_a_broken_package_is_one_line_that_names_it(install, name, target, code, reason):
    install(name, target, code)
    actions = [list_backbones] + [lambda: load_backbone(f"{name}:colours")] * (name != "timm")
    for action in actions:
        with pytest.raises(
            InputError, match=rf"^backbone source '{name}' .*toy_networks 1\.2.*{reason}"
        ) as e:
            action()
        assert "\n" not in str(e.value)


def test_a_source_that_fails_to_list_is_one_line_that_names_it(install):
    broken = "listed = lambda self: 1 / 0\n        facts ="
    install("toy", "ToySource", TOY.replace("facts =", broken, 1))
    with pytest.raises(InputError, match=r"^backbone source 'toy' cannot be listed \(division by zero\)"):
        list_backbones()


def test_two_packages_cannot_have_one_prefix(install):
    install("toy", "ToySource", TOY)
    install("toy", "ToySource", TOY, package="more_networks")
    with pytest.raises(InputError, match="prefix 'toy:' belongs to another source"):
        load_backbone("toy:colours", weights=None)


def test_no_package_is_looked_at_for_a_built_in_name(install):
    install("toy", "ToySource", "raise RuntimeError")
    assert load_backbone("shufflenet_v2_x0_5", weights=None, image_size=32).dim == 1024


def test_an_unknown_prefix_offers_known_backbones():
    with pytest.raises(
        UnknownName, match=r"unknown backbone 'tim:tf_efficientnet_lite0'; did you mean timm:tf_"
    ):
        load_backbone("tim:tf_efficientnet_lite0")
