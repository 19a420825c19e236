"""Networks cut at layers, compared with forward hooks, which are slow and obvious."""

import copy
import pickle
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from inputs_of_networks import images
from torch import nn

from featx.backbones.layers import hooks, tracing
from featx.backbones.layers.cutting import cut
from featx.backbones.layers.hooks import HookedFeatures
from featx.backbones.layers.pooling import Tap
from featx.backbones.layers.rules import LayerRules
from featx.errors import InputError, UnknownName


class Net(nn.Module):
    """Convolutions, an in-place activation, dropout before a linear classifier."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 4))

    def forward(self, x):
        x = self.act(self.norm(self.conv(x)))
        x = nn.functional.dropout(x.mean((2, 3)), 0.5, self.training)
        return self.head(self.drop(x))


class Untraceable(Net):
    """The same network, but it branches on values."""

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return super().forward(x)


@pytest.fixture(params=[Net, Untraceable])
def net(request):
    torch.manual_seed(0)
    net = request.param()
    net.norm.running_mean.normal_()
    return net.eval()


def hooked(net, layer, x):
    """Return a module's output, from a hook; cloned, because the activation after it works in place."""
    out = []
    handle = net.get_submodule(layer).register_forward_hook(lambda m, i, o: out.append(o.clone()))
    with torch.no_grad():
        net(x)
    handle.remove()
    return out[0]


IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_default_layer_is_the_input_of_the_classifier_without_dropout(net):
    expected = hooked(net, "act", IMAGES).mean((2, 3))
    traced = type(net) is Net
    part = cut(net, images(8, 8), name="net")
    assert (part.tap.layer, part.tap.pooling, part.dim) == (
        "mean" if traced else "head.1:input",
        "identity",
        6,
    )
    assert part.behind == (("head.",) if traced else ("head.1.",))
    with torch.no_grad():
        torch.testing.assert_close(part.module(IMAGES), expected)


@pytest.mark.parametrize("layer", ["conv", "norm", "act"])
@pytest.mark.parametrize("pooling", [None, "avg", "max", "none"])
def test_any_layer_gives_the_pooled_output_of_a_hook(net, layer, pooling):
    expected = hooked(net, layer, IMAGES)
    part = cut(net, images(8, 8), name="net", layer=layer, pooling=pooling)
    pooled = {"max": expected.amax((2, 3)), "none": expected.flatten(1)}.get(pooling, expected.mean((2, 3)))
    with torch.no_grad():
        torch.testing.assert_close(part.module(IMAGES), pooled)
    assert part.dim == pooled.shape[1]
    assert part.tap.pooling == (pooling or "avg")


def test_a_cut_network_has_nothing_behind_the_layer():
    part = cut(Net(), images(8, 8), name="net", layer="norm")
    assert {name.split(".")[0] for name in part.module.state_dict()} == {"conv", "norm"}
    assert part.behind == ("head.",)


def test_the_classifier_of_an_untraceable_network_is_dropped():
    part = cut(Untraceable(), images(8, 8), name="net")
    assert not any("head" in name for name in part.module.state_dict())


def test_cutting_works_without_values():
    with torch.device("meta"):
        net = Net()
    assert cut(net, images(8, 8), name="net", layer="conv", pooling="none").dim == 6 * 6 * 6


def test_a_vector_has_nothing_to_pool(net):
    for pooling in ("avg", "max", "none", "identity", None):
        assert (
            cut(type(net)(), images(8, 8), name="net", layer="head", pooling=pooling).tap.pooling
            == "identity"
        )


def test_a_module_stands_for_the_last_operation_in_it():
    assert cut(Net(), images(8, 8), name="net", layer="head").tap.layer == "head.1"


def test_tokens_are_pooled_over_positions():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 4, 4)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.conv(x).flatten(2).transpose(1, 2)).mean(1)

    part = cut(Tokens(), images(8, 8), name="net", pooling="max")
    assert (part.tap.layer, part.tap.pooling, part.dim) == ("transpose", "max", 5)
    assert cut(Tokens(), images(8, 8), name="net", pooling="none").dim == 20


def test_a_convolution_can_be_the_classifier():
    class Squeeze(nn.Sequential):
        def __init__(self):
            super().__init__(
                OrderedDict(
                    features=nn.Conv2d(3, 5, 3),
                    relu=nn.ReLU(),
                    dropout=nn.Dropout(),
                    classifier=nn.Conv2d(5, 9, 1),
                    pool=nn.AdaptiveAvgPool2d(1),
                )
            )

    part = cut(Squeeze(), images(8, 8), name="net")
    assert (part.tap.layer, part.tap.pooling, part.dim, part.behind) == ("relu", "avg", 5, ("classifier.",))


@pytest.mark.parametrize("layer", ["hed", "", "x", "conv.weight"])
def test_an_unknown_layer_names_the_nearest(net, layer):
    with pytest.raises(UnknownName, match="unknown layer of net") as caught:
        cut(net, images(8, 8), name="net", layer=layer)
    if layer == "hed":
        assert "did you mean head" in str(caught.value)


def test_an_unknown_pooling_is_named(net):
    with pytest.raises(UnknownName, match="unknown pooling of images 'mean'"):
        cut(net, images(8, 8), name="net", layer="conv", pooling="mean")


def test_identity_pooling_of_a_map_says_what_to_use(net):
    with pytest.raises(InputError, match=r"'conv' gives \(6, 6, 6\) per image.*use avg, max or none"):
        cut(net, images(8, 8), name="net", layer="conv", pooling="identity")


def test_an_image_that_is_too_small_is_refused_in_one_line(net):
    with pytest.raises(InputError, match="net: does not run on images of 2 x 2 pixels") as caught:
        cut(net, images(2, 2), name="net")
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_not_per_image_is_refused():
    class Mixing(Net):
        def forward(self, x):
            return super().forward(x) + x.mean()

    with pytest.raises(InputError, match="'mean_1' gives no row of numbers per image"):
        cut(Mixing(), images(8, 8), name="net", layer="mean_1")


@pytest.mark.parametrize("base", [nn.Module, Untraceable])
def test_a_network_without_any_classifier_asks_for_a_layer(base):
    class Bare(nn.Module):
        def forward(self, x):
            return x + bool(x.sum() > 0) if base is Untraceable else x + 1

    with pytest.raises(InputError, match="name a layer"):
        cut(Bare(), images(8, 8), name="net")


def test_hooks_leave_nothing_behind_after_an_error(net):
    module = HookedFeatures(net, [Tap("conv", "avg")])
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, 4, 8, 8))
    before = list(net.conv._forward_hooks)
    module(IMAGES)
    assert list(net.conv._forward_hooks) == before
    assert not hasattr(hooks._seen, "now")


def test_copies_and_pickles_carry_the_hooks(net):
    module = HookedFeatures(net, [Tap("conv", "avg"), Tap("head:input", "identity")]).eval()
    expected = module(IMAGES)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(other(IMAGES), expected)


def test_threads_that_run_one_network_get_rows_of_their_own_images():
    """Each thread is held behind the tapped layer until the other one has passed it."""
    both = threading.Barrier(2, timeout=30)

    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            out = self.conv(x)
            both.wait()
            both.wait()
            return out

    module = HookedFeatures(Held(), [Tap("conv", "avg")]).eval()
    batches = [torch.full((1, 3, 4, 4), float(value)) for value in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(module, batches))
    for row, batch in zip(rows, batches, strict=True):
        torch.testing.assert_close(row, module.network.conv(batch).mean(dim=(2, 3)))


def test_what_another_thread_computes_is_not_traced():
    other, seen = nn.Linear(2, 2), []

    class Busy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            thread = threading.Thread(target=lambda: seen.append(other(torch.ones(1, 2))))
            thread.start()
            thread.join()
            return self.conv(x)

    graph, _ = tracing.trace(Busy(), LayerRules())
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["conv"]
    torch.testing.assert_close(seen[0], other(torch.ones(1, 2)))
