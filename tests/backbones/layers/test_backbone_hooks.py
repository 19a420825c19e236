"""Which modules of a network that is read by hooks lie before a layer."""

import torch
from torch import nn

from featx.backbones import list_layers
from featx.backbones.layers.hooks import HookedFeatures, modules_before
from featx.backbones.layers.pooling import Tap
from featx.inputs.image.preprocess import Preprocessing


class Branching(nn.Module):
    """Cannot be traced; its modules are defined in another order than they run."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.body = nn.Sequential(nn.Conv2d(3, 5, 2), nn.ReLU())
        self.stem = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.body(x if x.sum() > -1e9 else -x).mean((2, 3)))


def test_modules_before_a_layer_are_those_that_ran():
    x = torch.rand(1, 3, 4, 4)
    expected = {
        "head:input": ["stem", "body.0", "body.1", "body"],
        "body": ["stem", "body.0", "body.1", "body"],
        "body.0": ["stem", "body.0"],
        "logits": ["stem", "body.0", "body.1", "body", "head"],
    }
    for layer, before in expected.items():
        network = Branching().eval()
        assert modules_before(HookedFeatures(network, [Tap(layer, "identity")]), x) == before
        hooks = [*network.stem._forward_hooks, *network.stem._forward_pre_hooks]
        assert len(hooks) == 0


def test_layers_are_listed_in_the_order_in_which_they_run():
    network = Branching()
    prepare = Preprocessing(resize=(8, 8), crop=None)
    found = list_layers(network, preprocessing=prepare)
    assert [(layer.name, layer.dim) for layer in found] == [
        ("stem", 3),
        ("body.0", 5),
        ("head", 3),
        ("embedding", 3),
    ]
