"""Engines run on any kind of input: here tokens, int64 (t,)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from featx.engines import EagerEngine, TorchEngine, measure_parity
from featx.engines.build import build_engine
from featx.engines.resolver import Plan
from featx.errors import InputError


class TokenInput:
    """Tokens go into the network as they are."""

    kind, square = "text", False

    def example(self, count, device="cpu"):
        return torch.zeros((count, 5), dtype=torch.int64, device=device)

    def scale_batch(self, preferred):
        return preferred

    def to_network(self, device, dtype):
        return lambda batch: batch


class MeanEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4)

    def forward(self, tokens):
        return self.words(tokens).mean(1)


@pytest.fixture
def backbone():
    preparation = SimpleNamespace(shape=(5,), dtype=np.dtype(np.int64))
    module = MeanEmbedding().eval().requires_grad_(False)
    return SimpleNamespace(name="words", module=module, dim=4, preparation=preparation, inputs=TokenInput())


@pytest.mark.parametrize("engine", ["torch", "eager"])
def test_tokens_become_rows(backbone, engine):
    batch = np.arange(15).reshape(3, 5) % 10
    rows = build_engine(backbone, Plan(engine, "cpu", "fp32"), images=3)(batch)
    expected = backbone.module.words.weight.numpy()[batch].mean(1)
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_a_batch_of_another_kind_is_refused(backbone):
    with pytest.raises(
        InputError, match=r"words: expected a batch of prepared inputs int64 \(b, 5\), got uint8"
    ):
        EagerEngine(backbone)(np.zeros((2, 5), np.uint8))


def test_the_parity_check_takes_them(backbone):
    assert measure_parity(TorchEngine(backbone), backbone, np.zeros((2, 5), np.int64)).passed
