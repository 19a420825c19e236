"""Dropout from a generator of one's own: the right distribution, repeatable, and no global random state."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featx.methods.finetune.own_dropout import OwnDropout

CPU = torch.device("cpu")


def dropped(key, x, work):
    with OwnDropout(key, CPU):
        return work(x)


def test_dropout_zeroes_a_share_and_scales_the_rest_as_torchs_own_does():
    x = torch.ones(200, 100)
    found = dropped([1], x, nn.Dropout(0.25).train())
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (found == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(dropped([1], x, nn.Dropout(0.25).eval()), x)
    assert torch.equal(dropped([1], x, nn.Dropout(1.0).train()), torch.zeros_like(x))


def test_the_key_decides_and_the_global_state_is_neither_read_nor_changed():
    x, drop = torch.ones(40, 40), nn.Dropout(0.5).train()
    before = torch.get_rng_state()
    first, same, other = (dropped(key, x, drop) for key in ([1, 2], [1, 2], [1, 3]))
    drawn = dropped([4], x, torch.Tensor.bernoulli)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(drawn, dropped([4], x, torch.Tensor.bernoulli))


@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
@pytest.mark.parametrize("grouped", [False, True])
def test_attention_without_its_dropout_is_torchs_own(mask, grouped):
    rng = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, 5, 8, generator=rng)
    k, v = (torch.randn(2, 2 if grouped else 4, 5, 8, generator=rng) for _ in range(2))
    looks = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:, None, None, :]
    given = {
        "none": {},
        "bool": {"attn_mask": looks},
        "float": {"attn_mask": torch.zeros(looks.shape).masked_fill(~looks, -math.inf)},
        "causal": {"is_causal": True},
    }[mask] | {"enable_gqa": grouped}
    expected = F.scaled_dot_product_attention(q, k, v, **given)
    tiny = 1e-12  # dropout in name only: the way is that of a training
    with OwnDropout([0], CPU):
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=tiny, **given)
        exact = F.scaled_dot_product_attention(q, k, v, **given)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(exact, expected)


def test_attention_drops_weights_and_keeps_its_mean():
    torch_rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, 6, 4, generator=torch_rng) for _ in range(3))
    found = []
    for i in range(400):
        with OwnDropout([i], CPU):
            found.append(F.scaled_dot_product_attention(q, k, v, dropout_p=0.2))
    expected = F.scaled_dot_product_attention(q, k, v)
    np.testing.assert_allclose(torch.stack(found).mean(0), expected, rtol=0, atol=0.12)
    assert not torch.equal(found[0], found[1])
