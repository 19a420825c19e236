"""A fine-tuned network from its values: the same rows, without the weights that it began with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from own_modules import SMALL, Encoder, seeded
from pictures import BACKBONE

from featx.backbones import TunedBackbone, hash_values, load_backbone, load_tuned, values_of
from featx.errors import InputError, ModelMismatch

IMAGES = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BACKBONE, weights=None, image_size=32)


@pytest.fixture(scope="module")
def changed(backbone):
    """A network of other values, and these."""
    module = backbone.build()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.01)
    return module, values_of(module)


@pytest.mark.parametrize("weights", [None, "IMAGENET1K_V1"])
def test_it_is_loaded_without_the_weights_that_it_began_with(backbone, changed, weights):
    """The published ones are not on this machine."""
    module, values = changed
    tuned = load_tuned(values, **(backbone.arguments | {"weights": weights}))
    with torch.no_grad():
        torch.testing.assert_close(tuned.module(IMAGES), module(IMAGES), rtol=0, atol=0)
    assert tuned.dim == backbone.dim
    assert tuned.preprocessing == backbone.preprocessing
    assert tuned.identity == TunedBackbone.of(backbone, values).identity
    assert tuned.identity == backbone.identity | {
        "weights": "fine-tuned",
        "weights_sha256": hash_values(values),
    }


def test_the_hash_tells_apart_names_shapes_types_and_values():
    one = {"a": np.arange(4, dtype=np.float32), "b": np.zeros((), np.int32)}
    assert hash_values(one) == hash_values({"b": one["b"], "a": one["a"].astype(">f4")})
    others = [
        {"a": one["a"]},
        one | {"a": one["a"].reshape(2, 2)},
        one | {"a": one["a"].astype(np.float64)},
        one | {"a": one["a"][::-1]},
        {"c": one["a"], "b": one["b"]},
    ]
    assert len({hash_values(one), *map(hash_values, others)}) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name, value: {name: None}, "lacks"),
        (lambda name, value: {"more": value}, "also holds 'more'"),
        (lambda name, value: {name: value[..., :1]}, "the installed library builds torch.float32 of"),
        (lambda name, value: {name: value.astype(np.int32)}, "is int32 of shape"),
    ],
)
def test_values_that_do_not_fit_the_installed_library_are_refused(backbone, changed, change, said):
    values = changed[1]
    name = next(iter(values))
    odd = {key: value for key, value in (values | change(name, values[name])).items() if value is not None}
    with pytest.raises(ModelMismatch, match=f"{BACKBONE}: .*{said}"):
        load_tuned(odd, **backbone.arguments)


def test_buffers_belong_to_the_values_and_counters_do_not():
    module = seeded(Encoder)
    backbone = load_backbone(module, preprocessing=SMALL)
    values = values_of(backbone.build())
    assert any(name.endswith("running_var") for name in values)
    assert not any(name.endswith("num_batches_tracked") for name in values)
    values = {name: value + np.float32(0.5) for name, value in values.items()}
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tuned = TunedBackbone.of(backbone, values)
    built = values_of(tuned.module)
    assert all(np.array_equal(built[name], values[name]) for name in values)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert tuned.identity["graph_sha256"] == backbone.identity["graph_sha256"]


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.tensor([1.0, torch.nan]), "not finite, so the training diverged"),
        (torch.tensor([2**40]), "integers that a model file cannot keep"),
        (torch.tensor([1j]), "complex64 cannot be kept in a model file"),
    ],
)
def test_values_that_no_file_can_keep_are_refused(tensor, said):
    module = torch.nn.Module()
    module.register_buffer("odd", tensor)
    with pytest.raises(InputError, match=f"odd: .*{said}"):
        values_of(module)


def test_integers_and_half_floats_come_back_as_they_were():
    module = torch.nn.Module()
    module.register_buffer("index", torch.arange(3))
    module.register_buffer("shift", torch.tensor([0.1, -2.0], dtype=torch.bfloat16))
    values = values_of(module)
    assert {name: value.dtype for name, value in values.items()} == {"index": np.int32, "shift": np.float32}
    from featx.backbones.tuned import fill_values

    other = torch.nn.Module()
    other.register_buffer("index", torch.zeros(3, dtype=torch.int64))
    other.register_buffer("shift", torch.zeros(2, dtype=torch.bfloat16))
    fill_values(other, values, "x")
    assert all(torch.equal(one, two) for one, two in zip(other.buffers(), module.buffers(), strict=True))
