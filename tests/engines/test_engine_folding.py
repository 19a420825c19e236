"""Folded batch norms leave the rows as they were."""

import copy

import pytest
import torch
from torch import fx, nn

from featx.backbones import load_backbone
from featx.engines.folding import fold_batch_norms
from featx.methods.finetune.folding import fold
from featx.vision import import_torchvision


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics and factors with which a mistake shows."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in (
                (norm.running_mean, -1, 1),
                (norm.running_var, 0.2, 3),
                (norm.weight, 0.5, 1.5),
                (norm.bias, -1, 1),
            ):
                if tensor is not None:
                    tensor.data.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return module.eval()


def traced(module: nn.Module) -> fx.GraphModule:
    return fx.symbolic_trace(lively(module))


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def check(module: nn.Module, left: int, size: int = 12) -> None:
    """Assert that folding leaves so many norms, and the rows and the module as they were."""
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    before = copy.deepcopy(module.state_dict())
    result = fold_batch_norms(module)
    with torch.no_grad():
        expected, got = module(images), result(images)
    assert norms(result) == left
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items()), "the original was changed"
    assert not any(p.requires_grad for p in result.parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_pair_becomes_one_convolution(bias, affine, groups):
    pair = nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=groups, bias=bias), nn.BatchNorm2d(6, affine=affine), nn.ReLU()
    )
    check(traced(pair), left=0)


def test_a_tiny_variance_does_not_cost_precision():
    pair = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module = traced(pair)
    pair[1].running_var.fill_(1e-9)
    check(module, left=0)


def test_a_norm_without_statistics_stays():
    check(traced(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))), left=1)


def test_a_norm_before_a_convolution_stays():
    check(traced(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))), left=1)


def test_a_norm_whose_convolution_is_used_elsewhere_stays():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return x + self.norm(x)

    check(traced(Forked()), left=1)


@pytest.mark.parametrize("shared", ["conv", "norm"])
def test_modules_that_are_called_twice_stay(shared):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
            self.other = nn.Conv2d(3, 3, 3) if shared == "norm" else nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.norm(self.conv(x))
            return self.norm(self.other(x)) if shared == "norm" else self.other(self.conv(x))

    check(traced(Twice()), left=1 if shared == "norm" else 2)


def test_a_network_that_was_not_traced_is_copied_as_it_is():
    check(lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))), left=1)


def test_padding_other_than_zeros_is_left_alone():
    check(
        traced(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4))),
        left=1,
    )


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mobilenet_v2", 0),
        ("resnet18", 0),
        ("shufflenet_v2_x0_5", 0),
        ("densenet121", 62),
        ("efficientnet_b0", 0),
        ("timm:tf_efficientnet_lite0", 0),  # its norms have the activation inside
    ],
)
def test_real_networks_fold(name, left):
    if name.startswith("timm:"):
        import_torchvision()  # timm imports it, and a mismatched build must be mended first
        pytest.importorskip("timm")
    backbone = load_backbone(name, weights=None, image_size=32)
    check(lively(backbone.build()).requires_grad_(False), left, size=32)


def hooked(layer):
    layer.register_forward_hook(lambda module, inputs, out: out * 2)


def overridden(layer):
    forward = layer.forward
    layer.forward = lambda x: forward(x) + 1


def weight_normed(layer):
    nn.utils.parametrizations.weight_norm(layer)


@pytest.mark.parametrize(
    ("change", "at"), [(hooked, 0), (hooked, 1), (overridden, 0), (overridden, 1), (weight_normed, 0)]
)
def test_a_layer_that_computes_something_else_is_not_folded(change, at):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    change(module[at])
    check(traced(module), left=1)
    images = torch.rand(2, 3, 12, 12)
    graph = traced(module)
    with torch.no_grad():
        expected = graph(images)
        torch.testing.assert_close(fold(graph)(images), expected, rtol=1e-4, atol=1e-5)


class Normed(nn.Module):
    """A convolution whose weight is a direction and a length, as in wav2vec 2.0."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv1d(4, 4, 3, padding=1)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)

    def forward(self, x):
        return self.conv(x)


def test_weight_norms_are_folded_in_the_copy_alone():
    torch.manual_seed(0)
    module, x = Normed().eval(), torch.randn(2, 4, 9)
    before = module(x)
    for network in (module, torch.fx.symbolic_trace(module)):
        folded = fold_batch_norms(network)
        assert type(folded.conv) is nn.Conv1d
        assert not [name for name in folded.state_dict() if "parametrizations" in name]
        torch.testing.assert_close(folded(x), before, rtol=0, atol=0)
        torch.testing.assert_close(module(x), before, rtol=0, atol=0)
        assert type(module.conv) is not nn.Conv1d
    assert "conv.parametrizations.weight.original0" in module.state_dict()


def test_other_parametrizations_stay():
    class Doubled(nn.Module):
        def forward(self, weight):
            return 2 * weight

    module = nn.Sequential(nn.Linear(3, 3))
    nn.utils.parametrize.register_parametrization(module[0], "weight", Doubled())
    x = torch.randn(2, 3)
    folded = fold_batch_norms(module)
    assert hasattr(folded[0], "parametrizations")
    torch.testing.assert_close(folded(x), module.eval()(x))
