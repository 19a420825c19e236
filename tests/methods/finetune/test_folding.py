"""Check that the folded and cut network has the values and gradients of the original."""

import pytest
import torch
from torch import nn

from featx.methods.finetune.folding import FoldedConv, cut_frozen_part, fold, trace
from featx.methods.finetune.freezing import freeze, unfreeze, unfreeze_last


def sample(n=3):
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def gradients(module, network):
    module.zero_grad()
    network(sample()).square().sum().backward()
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def test_folding_keeps_values_and_gradients_of_every_parameter(tiny):
    module = tiny.build().double()
    x = sample().double()
    module(x).square().sum().backward()
    expected = {n: p.grad.clone() for n, p in module.named_parameters()}
    module.zero_grad()
    graph = fold(trace(module, x))
    assert sum(isinstance(m, FoldedConv) for m in graph.modules()) == 3
    torch.testing.assert_close(graph(x), module(x))
    graph(x).square().sum().backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


def test_folding_leaves_the_original_its_layers_and_parameters(tiny):
    module = tiny.build()
    original = {k: v.clone() for k, v in module.state_dict().items()}
    fold(trace(module, sample()))
    assert isinstance(module.stem[1], nn.BatchNorm2d)
    assert all(torch.equal(v, original[k]) for k, v in module.state_dict().items())


def test_frozen_pairs_become_plain_convolutions(tiny):
    module = freeze(tiny.build())
    graph = fold(trace(module, sample()))
    assert not any(isinstance(m, (FoldedConv, nn.BatchNorm2d)) for m in graph.modules())
    torch.testing.assert_close(graph(sample()), module(sample()))


class Odd(nn.Module):
    """BatchNorms that must stay: before a convolution, on a shared output, without affine, called twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, 3)
        self.shared = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 1)
        self.bare = nn.BatchNorm2d(4, affine=False)
        self.conv3 = nn.Conv2d(4, 4, 1)
        self.twice = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(self.first(x))
        y = y + self.shared(y)
        y = self.bare(self.conv2(y))
        return self.twice(self.twice(self.conv3(y))).mean((2, 3))


def test_pairs_that_are_no_pairs_are_left_alone():
    module = Odd().eval()
    for layer in (module.first, module.shared, module.bare, module.twice):
        layer.running_var.fill_(0.5)
    graph = fold(trace(module, sample()))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in graph.modules()) == 4
    torch.testing.assert_close(graph(sample()), module(sample()))


def test_a_network_with_branches_on_values_is_not_traced(untraceable):
    assert trace(untraceable.build(), sample()) is None


class Mode(nn.Module):
    """A module whose trace would contain the count of its first call as a constant."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x.mean((2, 3)) * self.calls


def test_a_trace_that_computes_something_else_is_thrown_away():
    assert trace(Mode(), sample()) is None


@pytest.mark.parametrize("k", [1, 2])
def test_a_cut_network_gives_the_same_features_and_gradients(tiny, k):
    module = freeze(tiny.build())
    unfreeze_last(tiny, module, k)
    expected = gradients(module, module)
    split = cut_frozen_part(fold(trace(module, sample())), sample(2))
    assert split.is_cut
    found = gradients(module, lambda x: split.upper(split.lower(x)))
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)
    assert not any(part.requires_grad for part in split.lower(sample()))


def test_nothing_is_cut_off_when_everything_learns(tiny):
    module = tiny.build()
    unfreeze(module.parameters())
    assert not cut_frozen_part(fold(trace(module, sample())), sample(2)).is_cut


class Sized(nn.Module):
    """A size read below the cut is used above it; stored activations would have other sizes."""

    def __init__(self):
        super().__init__()
        self.below, self.above = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = self.below(x)
        return self.above(y).reshape(y.shape[0], -1)


class Overwriting(nn.Module):
    """The upper part changes in place what crosses the cut."""

    def __init__(self):
        super().__init__()
        self.below, self.above = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.below(x).add_(self.above(x)).mean((2, 3))


@pytest.mark.parametrize("network", [Sized, Overwriting])
def test_a_network_is_left_whole_where_a_cut_would_not_be_safe(network):
    module = freeze(network())
    unfreeze(module.above.parameters())
    split = cut_frozen_part(trace(module, sample(2)), sample(2))
    assert not split.is_cut
    torch.testing.assert_close(split.upper(split.lower(sample())), module(sample()))


class Scaled(nn.Module):
    """Parameters of the module itself, as in ConvNeXt: one frozen and one trained."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.still, self.learns = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.conv(x).mean((2, 3)) * self.learns + self.still


def test_single_parameters_end_on_the_right_side_of_the_cut():
    module = freeze(Scaled())
    unfreeze([module.learns])
    split = cut_frozen_part(trace(module, sample(2)), sample(2))
    assert split.is_cut
    assert len(split.lower(sample())) == 1
    torch.testing.assert_close(split.upper(split.lower(sample())), module(sample()))


@pytest.mark.parametrize(("stride", "groups"), [(2, 8), (1, 8), (2, 1)])
def test_strided_grouped_convolutions_alone_leave_bfloat16_and_keep_values_and_gradients(
    stride, groups, monkeypatch
):
    conv, bn = nn.Conv2d(8, 8, 3, stride, 1, groups=groups), nn.BatchNorm2d(8).eval()
    used, forward = [], conv._conv_forward
    monkeypatch.setattr(conv, "_conv_forward", lambda x, *rest: used.append(x.dtype) or forward(x, *rest))
    folded = FoldedConv(conv, bn)
    x = torch.randn(4, 8, 10, 10, generator=torch.Generator().manual_seed(1)).requires_grad_()
    exact = folded(x)
    wanted = torch.autograd.grad(exact.square().sum(), (x, conv.weight))
    with torch.autocast("cpu", torch.bfloat16):
        rough = folded(x.bfloat16())
        found = torch.autograd.grad(rough.float().square().sum(), (x, conv.weight))
    assert rough.dtype == torch.bfloat16
    assert used[1] == (torch.float32 if stride > 1 and groups > 1 else torch.bfloat16)
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.1 * float(other.abs().max()))
