"""Networks that cannot be traced are cut before a block: the parts together are the whole."""

import numpy as np
import pytest
import torch
from torch import nn

from featx.methods.finetune.block_cut import cut_blocks
from featx.methods.finetune.freezing import freeze, unfreeze

#: (b, t), with b != t.
TOKENS = torch.arange(21).reshape(3, 7) % 5


class Block(nn.Module):
    def __init__(self, form="tensor"):
        super().__init__()
        self.linear, self.drop, self.form = nn.Linear(4, 4), nn.Dropout(0.5), form

    def forward(self, hidden, *shared):
        hidden = torch.tanh(hidden + self.drop(self.linear(hidden)) + sum(shared))
        return {"tensor": hidden, "tuple": (hidden, None), "more": (hidden, hidden.mean())}[self.form]


class Network(nn.Module):
    """Tokens, three blocks, a norm, and the mean over positions; Python decides in between."""

    def __init__(self, form="tensor", *, turned=False, skips=False, named=False):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(5, 4), nn.LayerNorm(4)
        self.blocks = nn.ModuleList(Block(form) for _ in range(3))
        self.scale = nn.Parameter(torch.full((1,), 0.1))
        self.turned, self.skips, self.named = turned, skips, named

    def forward(self, x):
        hidden = self.embedding(x)
        hidden = hidden.transpose(0, 1) if self.turned else hidden
        states = []
        for block in self.blocks:
            out = block(hidden=hidden) if self.named else block(hidden, self.scale)
            hidden = out[0] if isinstance(out, tuple) else out
            states.append(hidden)
        if self.skips:
            hidden = hidden + states[0]
        hidden = self.norm(hidden)
        return hidden.mean(0 if self.turned else 1)


def make(*trained, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = freeze(Network(**options))
    unfreeze(p for name, p in network.named_parameters() if name.startswith(trained))
    return network


@pytest.mark.parametrize(
    "options", [{}, {"form": "tuple"}, {"turned": True}, {"named": True}], ids=lambda o: str(o)
)
@pytest.mark.parametrize("first", [1, 2])
def test_both_parts_give_rows_and_gradients_of_the_whole(options, first):
    network = make(*(f"blocks.{i}" for i in range(first, 3)), "norm", **options)
    cut = cut_blocks(network, TOKENS)
    assert cut.is_cut
    tokens, state = cut.lower(TOKENS)
    assert torch.equal(tokens, TOKENS)
    assert state.shape == (3, 7, 4)
    assert not state.requires_grad
    trained = [p for p in network.parameters() if p.requires_grad]
    whole, parts = network(TOKENS), cut.upper((tokens, state))
    assert torch.equal(parts, whole)
    for found, expected in zip(
        torch.autograd.grad(parts.square().sum(), trained),
        torch.autograd.grad(whole.square().sum(), trained),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    at = [2, 0]  # any rows, in any order
    assert torch.allclose(cut.upper((tokens[at], state[at])), whole[at], atol=1e-6)


def test_the_parts_follow_the_parameters_and_leave_the_network_as_it_was():
    network = make("blocks.2", "norm")
    before = network(TOKENS)
    cut = cut_blocks(network, TOKENS)
    parts = cut.lower(TOKENS)
    assert torch.equal(network(TOKENS), before)
    assert not any(module.training for module in network.modules())
    with torch.no_grad():
        network.blocks[2].linear.bias.add_(1)
    assert torch.allclose(cut.upper(parts), network(TOKENS), atol=1e-6)
    assert not torch.equal(network(TOKENS), before)


def test_only_the_trained_part_has_dropout():
    cut = cut_blocks(make("blocks.2", "norm"), TOKENS)
    parts = cut.lower(TOKENS)
    assert torch.equal(parts[1], cut.lower(TOKENS)[1])
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(cut.train_upper(parts), cut.upper(parts))
    for block in cut.train_upper.args[0].blocks[:2]:
        block.drop.forward = None  # would fail if it ran
    cut.train_upper(parts)


@pytest.mark.parametrize(
    ("trained", "options"),
    [
        (("blocks.2", "norm"), {"skips": True}),  # the first block goes around the cut
        (("blocks.2", "norm"), {"form": "more"}),  # blocks pass on more than the hidden state
        (("blocks.2", "norm", "scale"), {}),  # the frozen blocks depend on a trained parameter
        (("blocks.2", "norm", "embedding"), {}),
        (("blocks.0", "norm"), {}),  # nothing is frozen below the first block
        (("norm",), {}),  # no block is trained
    ],
)
def test_what_cannot_be_cut_exactly_runs_whole(trained, options):
    network = make(*trained, **options)
    cut = cut_blocks(network, TOKENS)
    assert not cut.is_cut
    assert len(cut.lower(TOKENS)) == 1
    assert torch.equal(cut.upper(cut.lower(TOKENS)), network(TOKENS))
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(cut.train_upper((TOKENS,)), network(TOKENS))
