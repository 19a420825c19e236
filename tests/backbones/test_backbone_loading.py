"""Networks that are built to be filled with weights."""

import torch
from torch import nn

from featx.backbones.architectures import Architecture
from featx.backbones.loading import uninitialised_network


class Drawn(nn.Module):
    """Its parameters were in memory, far outside what is drawn for them."""

    def __init__(self):
        super().__init__()
        self.normal, self.uniform, self.usual, self.far = (
            nn.Parameter(torch.full((3,), 9e9)) for _ in range(4)
        )
        with torch.no_grad():
            self.normal.normal_(3.0, 0.1)
            self.uniform.uniform_(4.0, 5.0)
        nn.init.trunc_normal_(self.usual, a=-2.0, b=2.0)
        nn.init.trunc_normal_(self.far, mean=2.0, a=3.0, b=4.0)


class DrawnArchitecture(Architecture):
    source = "drawn"

    def build(self, pretrained, *, pretrained_style):
        return Drawn()


def test_skipped_initial_values_are_such_as_could_be_drawn():
    """Else drawing a truncated normal distribution, until all values are within bounds, would not end."""
    network = uninitialised_network(DrawnArchitecture("drawn"), None)
    assert network.normal.tolist() == [3.0] * 3
    assert network.uniform.tolist() == [4.0] * 3
    assert float(network.usual.detach().abs().max()) <= 2
    assert 3 <= float(network.far.detach().min()) <= float(network.far.detach().max()) <= 4
