"""A user's module as a backbone: what it computes, which layer is taken, and what is refused."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from own_modules import SMALL, Branching, Classifier, Encoder, seeded
from torch import nn
from torch.nn import functional

from featx import load_backbone
from featx.backbones import list_layers, load_layers
from featx.backbones.input_settings import InputSettings
from featx.backbones.own.module import load_module
from featx.backbones.sources.timm import import_timm
from featx.errors import InputError, UnknownName
from featx.vision import import_torchvision

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def load(module, **options):
    return load_backbone(module, **({"preprocessing": SMALL} | options))


def rows(network):
    with torch.no_grad():
        return network(IMAGES)


@pytest.mark.parametrize("kind", [Encoder, Branching])
def test_the_default_is_what_the_module_returns_in_eval_mode(kind):
    module = seeded(kind).train()
    before = copy.deepcopy(module.state_dict())
    backbone = load(module)
    torch.testing.assert_close(rows(backbone.module), rows(copy.deepcopy(module).eval()))
    assert (backbone.name, backbone.layer, backbone.pooling, backbone.dim) == (
        kind.__name__,
        "embedding",
        "identity",
        6,
    )
    assert backbone.architecture.rules.traceable is (kind is Encoder)
    assert module.training
    assert module.norm.training
    assert "shift" in vars(module)
    assert all(parameter.requires_grad for parameter in module.parameters())
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_the_default_of_a_classifier_is_its_input():
    module = seeded(Classifier).eval()
    backbone = load(module, name="mine")
    assert (backbone.name, backbone.layer, backbone.dim) == ("mine", "mean", 8)
    assert rows(load(module, layer="logits").module).equal(rows(module))
    assert rows(load(module, layer="embedding").module).equal(rows(module))
    assert load(module, layer="conv", pooling="max").dim == 8


class Untraceable(Classifier):
    def forward(self, x):
        return super().forward(x) if x.sum() < 1e9 else x


class Scores(Classifier):
    num_classes = 3  # its fc gives 4 numbers, so it is not the classifier


class Projection(Classifier):
    def forward(self, x):
        return functional.normalize(super().forward(x), dim=1)


class Probabilities(Classifier):
    def forward(self, x):
        return super().forward(x).softmax(1)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [(Untraceable, "fc:input"), (Scores, "embedding"), (Projection, "embedding"), (Probabilities, "mean")],
)
def test_a_layer_counts_as_classifier_where_its_output_is_returned(kind, layer):
    assert load(seeded(kind)).layer == layer


def test_a_network_of_torchvision_has_the_layer_of_its_name():
    network = import_torchvision().models.squeezenet1_1(weights=None)  # whose classifier is a convolution
    named = load_backbone("squeezenet1_1", weights=None, image_size=64)
    backbone = load(network, image_size=64)
    assert (backbone.tap, backbone.dim) == (named.tap, named.dim)


def test_a_network_without_its_classifier_gives_what_it_returns():
    network = seeded(lambda: import_torchvision().models.resnet18(weights=None))
    network.fc = nn.Identity()
    backbone = load(network)
    assert (backbone.layer, backbone.dim) == ("embedding", 512)


def test_a_network_of_timm_brings_rules_and_preprocessing():
    network = seeded(lambda: import_timm().create_model("resnet10t")).eval()
    named = load_backbone("timm:resnet10t", weights=None)
    backbone = load_backbone(network, image_size=64)
    assert (backbone.layer, backbone.dim) == (named.layer, named.dim)
    assert backbone.preprocessing == named.preprocessing.with_size(64)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone.module(x), network.forward_head(network.forward_features(x), pre_logits=True)
        )


def test_torchvisions_transforms_are_a_preprocessing():
    weights = import_torchvision().models.ResNet18_Weights.IMAGENET1K_V1
    backbone = load(seeded(Encoder), preprocessing=weights.transforms())
    assert backbone.preprocessing == next(
        known.preprocessing for known in load_backbone("resnet18", weights=None).architecture.published()
    )


class Tokens(nn.Module):
    """Gives a class token and 16 patches."""

    def __init__(self):
        super().__init__()
        self.patch, self.cls_token = nn.Conv2d(3, 6, 8, stride=8), nn.Parameter(torch.randn(1, 1, 6))
        self.position = nn.Parameter(torch.randn(1, 17, 6))

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.position


def test_tokens_and_maps_are_pooled_where_their_channels_are_known():
    module = seeded(Tokens)
    for pooling, expected in (
        ("cls", rows(module)[:, 0]),
        ("patches", rows(module)[:, 1:].mean(1)),
        (None, rows(module).mean(1)),
    ):
        torch.testing.assert_close(rows(load(module, pooling=pooling).module), expected)
    last = nn.Sequential(nn.Conv2d(3, 5, 4, stride=4), ChannelsLast())
    torch.testing.assert_close(rows(load(last).module), rows(last[0]).mean((2, 3)))


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class Embedding(Classifier):
    """Has a child named as featx names what a module returns."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(4, 3)

    def forward(self, x):
        return -self.embedding(super().forward(x)) * torch.tensor([1.0, 2.0, 3.0])


def test_a_child_called_embedding_is_not_taken_for_what_is_returned():
    module = seeded(Embedding)
    torch.testing.assert_close(rows(load(module).module), rows(module))
    assert load(module, layer="network.embedding").dim == 3


class Mistraced(nn.Module):
    """Computes something else while it is traced."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return x if isinstance(x, torch.Tensor) else x + 1


def test_a_graph_that_computes_something_else_is_not_used():
    module = seeded(Mistraced)
    backbone = load(module)
    assert not backbone.architecture.rules.traceable
    torch.testing.assert_close(rows(backbone.module), rows(module))


class Compiled(nn.Module):
    """As torch.compile wraps a module."""

    def __init__(self, module):
        super().__init__()
        self._orig_mod = module


def test_wrappers_of_other_types_are_taken_off():
    module = seeded(Encoder)
    expected = load(module)
    for other in (nn.DataParallel(module), Compiled(module), copy.deepcopy(module).double()):
        backbone = load(other)
        assert backbone.name == "Encoder"
        torch.testing.assert_close(rows(backbone.module), rows(expected.module))
        assert backbone.identity == expected.identity


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_a_scripted_module_works():
    module = seeded(Encoder).eval()
    backbone = load(torch.jit.script(module), name="scripted")
    torch.testing.assert_close(rows(backbone.module), rows(module))


class Loss(nn.Module):
    pass


class WithLoss(Classifier):
    def __init__(self):
        super().__init__()
        self.loss, self.unused = Loss(), nn.Linear(5, 5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_traced_module_is_read_as_a_whole():
    module = seeded(WithLoss).eval()
    traced = torch.jit.trace(module, torch.zeros(1, 3, 32, 32))
    with pytest.warns(UserWarning, match=r"the 4 outputs of its last linear layer 'fc'.* before torch\.jit"):
        backbone = load(traced)
    torch.testing.assert_close(rows(backbone.module), rows(module))
    assert [layer.name for layer in list_layers(backbone)] == ["embedding"]
    with pytest.raises(InputError, match=r"no layer 'conv' that can be read.*before torch\.jit"):
        load(traced, layer="conv")


@pytest.mark.parametrize("traceable", [True, False])
def test_a_classifier_that_is_not_named_as_one_is_pointed_out(traceable):
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if traceable else [Means(), nn.Identity()]
    module, before = (
        nn.Sequential(nn.Conv2d(3, 8, 3), *pool, nn.Linear(8, 4)),
        "2" if traceable else "3:input",
    )
    with pytest.warns(UserWarning, match=f"the 4 outputs of its last linear layer '3'.*layer='{before}'"):
        assert load(module).dim == 4
    assert load(module, layer=before).dim == 8
    assert load(module, layer="embedding").dim == 4


def test_a_later_change_of_the_module_changes_no_embedding():
    module = seeded(Encoder)
    backbone = load(module)
    expected = rows(backbone.module)
    with torch.no_grad():
        module.conv.weight.add_(1)
    assert rows(backbone.module).equal(expected)
    trained = backbone.build()
    assert trained is not backbone.module
    assert all(parameter.requires_grad for parameter in trained.parameters())
    with torch.no_grad():
        next(trained.parameters()).add_(1)
    assert rows(backbone.build().eval()).equal(expected)


def test_a_pickle_and_a_copy_have_the_network():
    backbone = load(seeded(Encoder))
    for other in (pickle.loads(pickle.dumps(backbone)), copy.deepcopy(backbone)):
        assert other.identity == backbone.identity
        assert rows(other.module).equal(rows(backbone.module))


def test_layers_are_listed_and_loaded():
    module = seeded(Classifier)
    assert [(layer.name, layer.dim) for layer in list_layers(module, preprocessing=SMALL)] == [
        ("conv", 8),
        ("mean", 8),
        ("logits", 4),
    ]
    assert [b.dim for b in load_layers(module, ["conv", "logits"], preprocessing=SMALL)] == [8, 4]
    with pytest.raises(UnknownName, match="layer of Classifier"):
        load(module, layer="convolution")


class Returns(Encoder):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(super().forward(x))


def pair(x):
    return x, x


def named(x):
    return {"tokens": x, "pooled": x}


class TwoInputs(Encoder):
    def forward(self, x, mask):
        return super().forward(x) * mask


class Noisy(Encoder):
    def forward(self, x):
        return functional.dropout(super().forward(x))


class Trains(Encoder):
    def forward(self, x):
        self.norm.train()
        return super().forward(x)


class OfBatch(Encoder):
    def forward(self, x):
        x = super().forward(x)
        return x - x.mean(0)


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.networks = [nn.Conv2d(3, 4, 3)]

    def forward(self, x):
        return self.networks[0](x)


class Holding(Encoder):
    def __init__(self):
        super().__init__()
        self.act = lambda x: self.fc(x)

    def forward(self, x):
        return self.act(self.conv(x).mean((2, 3)))


class Locked(Encoder):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def timm_maps():
    return import_timm().create_model("test_resnet", features_only=True)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: Returns(pair), "Returns: it returns a tuple.*name a layer with layer="),
        (lambda: timm_maps(), "it returns a list"),
        (lambda: Returns(named), "Returns: it returns a dict with tokens, pooled"),
        (lambda: TwoInputs(), r"TwoInputs: does not run on 2 images of 32 x 32 pixels .*mask"),
        (
            lambda: Noisy(),
            "Noisy: it gives the same images different rows in two runs.*training=self.training",
        ),
        (lambda: Trains(), "Trains: (it gives the same|the row of an image depends)"),
        (lambda: OfBatch(), "OfBatch: the row of an image depends on the other images"),
        (lambda: Holding(), "Holding: it uses a Holding that is not.*a lambda must not hold self"),
        (lambda: Hidden(), "Hidden: it uses a Conv2d that is not one of its modules.*ModuleList"),
        (lambda: Locked(), "Locked: this module cannot be copied .*lock"),
        (lambda: nn.LazyConv2d(4, 3), "parameters without a shape yet"),
        (lambda: nn.Conv2d(3, 4, 3, device="meta"), "Conv2d: .*meta device"),
        (lambda: nn.ModuleList([nn.Conv2d(3, 4, 3)]), "ModuleList: does not run on"),
        (lambda: nn.Conv2d(1, 4, 3), "Conv2d: does not run on"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0)), "gives no row of numbers"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_in_one_line(module, message):
    with pytest.raises(InputError, match=message) as refused:
        load(module())
    assert "\n" not in str(refused.value)


class Means(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) if x.sum() < 1e9 else x


def test_a_module_without_parameters_is_a_backbone():
    for module in (Means(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())):
        backbone = load(module)
        torch.testing.assert_close(rows(backbone.module), IMAGES.mean((2, 3)))
        assert [(layer.name, layer.dim) for layer in list_layers(backbone)] == [("embedding", 3)]


def test_a_layer_can_be_named_where_the_output_is_no_tensor():
    assert load(seeded(lambda: Returns(pair)), layer="fc").dim == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": None}, r"Encoder: say how images are prepared.*featx\.Preprocessing\(\)"),
        ({"preprocessing": 224}, "preprocessing must be a Preprocessing"),
        ({"weights": None}, "weights: a network of your own has its own weights"),
        ({"weights": "x.pth"}, "weights: a network of your own"),
        ({"seed": 1}, "seed: a network of your own"),
        ({"pooling": "cls", "layer": "conv"}, "without a class token"),
    ],
)
def test_options_that_do_not_fit_a_module_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        load(seeded(Encoder), **options)


def test_the_name_is_a_label_of_modules_only():
    assert load_backbone(name="resnet18", weights=None, image_size=64).name == "resnet18"
    with pytest.raises(InputError, match="name: 'mine' is a label for a network of your own"):
        load_backbone("resnet18", name="mine", weights=None)
    with pytest.raises(InputError, match="expected a name"):
        load_backbone()


def test_load_module_is_what_load_backbone_calls():
    module = seeded(Encoder)
    assert load_module(module, settings=InputSettings(SMALL)).identity == load(module).identity
