"""Small networks as users write them; here, so that worker processes can import them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from featx import Preprocessing

#: Images of 32 x 32 pixels.
SMALL = Preprocessing(resize=32, crop=(32, 32))


def seeded(make, seed=0):
    """A network with values of that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


class Encoder(nn.Module):
    """Its output is the embedding, scaled by a plain number and a plain tensor."""

    def __init__(self, scale=2.0):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.scale, self.shift = scale, torch.ones(8)
        self.fc = nn.Linear(8, 6)

    def forward(self, x):
        x = functional.relu(self.norm(self.conv(x))).mean((2, 3))
        return functional.normalize(self.fc(x * self.scale + self.shift), dim=1)


class Branching(Encoder):
    """Cannot be traced."""

    def forward(self, x):
        return super().forward(x) if x.sum() < 1e9 else x


class Classifier(nn.Module):
    """Ends in a classifier."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(functional.relu(self.conv(x)).mean((2, 3)))
