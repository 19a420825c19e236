"""The identity of a user's module: equal for equal networks, in any process; another after any change."""

from __future__ import annotations

import copy
import functools
import pickle
import types

import numpy as np
import pytest
import torch
from own_modules import SMALL, Branching, Classifier, Encoder, seeded
from torch import nn
from torch.nn import functional

from featx import load_backbone
from featx.backbones import module_key
from featx.errors import InputError


def identity(module):
    return load_backbone(module, preprocessing=SMALL).identity


KINDS = (Encoder, Branching, Classifier)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_modules_have_one_identity_whatever_their_label_mode_and_past(kind):
    module = seeded(kind)
    expected, key = identity(module), module_key(module)
    assert expected["source"] == expected["weights"] == "module"
    for other in (copy.deepcopy(module).eval(), pickle.loads(pickle.dumps(module)), seeded(kind)):
        for _ in range(20):  # Python rewrites the bytecode of what it runs often
            other.eval()(torch.zeros(1, 3, 32, 32))
        assert module_key(other.requires_grad_(False)) == key
        assert load_backbone(other, preprocessing=SMALL, name="other").identity == expected


def weight(module):
    with torch.no_grad():
        module.conv.weight[0, 0, 0, 0] += 1e-6


def bias_of_nothing(module):
    module.norm.running_mean[0] += 1e-6


def number(module):
    module.scale = 2.0000001


def plain_tensor(module):
    module.shift = module.shift + 1e-6


def setting(module):
    module.conv.stride = (3, 3)


def epsilon(module):
    module.norm.eps = 1e-4


def another_layer(module):
    module.norm = nn.Identity()


def hook(module):
    module.conv.register_forward_hook(lambda module, inputs, out: out * 2)


def hook_of_the_whole(module):
    module.register_forward_hook(lambda module, inputs, out: out + 1)


def forward(module):
    def changed(self, x):
        return functional.normalize(self.fc(self.conv(x).mean((2, 3)) * self.scale), dim=1)

    module.forward = types.MethodType(changed, module)


CHANGES = (
    *(weight, bias_of_nothing, number, plain_tensor, setting, epsilon),
    *(another_layer, hook, hook_of_the_whole, forward),
)


@pytest.mark.parametrize("kind", [Encoder, Branching])
def test_any_change_of_values_settings_or_code_is_another_identity(kind):
    module = seeded(kind)
    identities, keys = [identity(module)], [module_key(module)]
    for change in CHANGES:
        other = copy.deepcopy(module)
        change(other)
        identities.append(identity(other))
        keys.append(module_key(other))
    assert len(set(map(repr, identities))) == len(CHANGES) + 1
    assert len(set(keys)) == len(CHANGES) + 1
    values = [one["weights_sha256"] for one in identities]
    assert len(set(values)) == 4  # of a weight, of a running mean, without the norm, and all others


def scaled(x, by=2):
    return x * by


class Outside(nn.Module):
    """Uses functions and values that are no attribute of it."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function

    def forward(self, x):
        return self.function(self.conv(x).mean((2, 3)))


def test_functions_that_a_module_uses_are_part_of_its_code():
    table = np.array([1.0, 2.0])
    made = [
        scaled,
        lambda x: x * 2,
        lambda x: x * 3,
        functools.partial(scaled, by=3),
        functools.partial(scaled, by=4),
        lambda x: x * float(table[1]),
        lambda x: x if x.sum() > 0 else scaled(x),
        nn.functional.relu,
        nn.functional.gelu,
        torch.tanh,
    ]
    keys = [module_key(seeded(lambda function=function: Outside(function))) for function in made]
    assert len(set(keys)) == len(made)
    table[1] = 5
    assert module_key(seeded(lambda: Outside(made[5]))) != keys[5]


def test_a_function_that_another_function_calls_is_part_of_the_code(monkeypatch):
    module = seeded(lambda: Outside(lambda x: scaled(x) if x.sum() > 0 else x))
    key, found = module_key(module), identity(module)
    monkeypatch.setitem(globals(), "scaled", lambda x: x * 7)
    assert module_key(module) != key
    assert identity(module) != found


GLOBAL = nn.Linear(4, 2)


def test_a_network_from_elsewhere_is_refused():
    for function in (lambda x: GLOBAL(x), GLOBAL.forward, functools.partial(GLOBAL)):
        module = Outside(None)
        module.__dict__["function"] = function
        with pytest.raises(InputError, match="Outside: it uses a Linear that is not one of its modules"):
            identity(module)
        with pytest.raises(InputError, match="Outside: it uses a Linear"):
            module_key(module)


def test_layer_and_pooling_are_part_of_the_identity():
    module = seeded(Classifier)
    assert (
        len(
            {repr(load_backbone(module, preprocessing=SMALL, layer=layer).identity) for layer in (None, "fc")}
        )
        == 2
    )


class Wrapping(nn.Module):
    """Has an attribute named as a global network, and a loop that uses one."""

    def __init__(self):
        super().__init__()
        self.GLOBAL = copy.deepcopy(GLOBAL)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.finish(x) if x.sum() < 1e9 else x

    def finish(self, x):
        return self.GLOBAL(x)

    def training_step(self, x):
        return GLOBAL(x)


def test_only_what_forward_leads_to_is_part_of_the_code(monkeypatch):
    module = seeded(Wrapping)
    key, found = module_key(module), identity(module)
    monkeypatch.setattr(Wrapping, "training_step", lambda self, x: None)
    assert (module_key(module), identity(module)) == (key, found)
    monkeypatch.setattr(Wrapping, "finish", torch.no_grad()(lambda self, x: -self.GLOBAL(x)))
    changed = module_key(module), identity(module)
    assert changed[0] != key
    assert changed[1] != found
    monkeypatch.setattr(Wrapping, "finish", torch.no_grad()(lambda self, x: -2 * self.GLOBAL(x)))
    assert module_key(module) != changed[0]
