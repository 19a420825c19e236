"""Names of the nodes of a traced network are those that torchvision gives."""

import torch
from torch import nn

from featx.backbones.layers.rules import LayerRules
from featx.backbones.layers.tracing import trace
from featx.backbones.loading import meta_network
from featx.backbones.sources.torchvision import TorchvisionArchitecture
from featx.vision import import_torchvision


class Repeated(nn.Module):
    """Calls modules more than once, and has modules whose names end in a number."""

    def __init__(self):
        super().__init__()
        self.layer, self.layer_1, self.norm = nn.Linear(3, 3), nn.Linear(3, 3), nn.LayerNorm(3)
        self.scale = nn.Parameter(torch.ones(3))
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def forward(self, x):
        x = self.layer_1(self.layer(self.layer(x))) * self.scale + self.scale
        x = self.inner(self.inner(x)) + x + self.layer_1(x)
        return nn.functional.layer_norm(self.norm(x) + x, (3,), self.norm.weight, self.norm.bias)


def test_names_equal_those_of_torchvision():
    import_torchvision()
    from torchvision.models.feature_extraction import NodePathTracer

    small = meta_network(TorchvisionArchitecture("shufflenet_v2_x0_5"), None, pretrained_style=False)
    for network in (Repeated(), small.eval()):
        reference = NodePathTracer()
        expected = reference.trace(network)
        graph, names = trace(network, LayerRules())
        assert [str(node) for node in graph.nodes] == [str(node) for node in expected.nodes]
        assert [node.target for node in graph.nodes] == [node.target for node in expected.nodes]
        found = [name for node, name in reference.node_to_qualname.items() if node.op != "placeholder"]
        assert list(names.values()) == found
