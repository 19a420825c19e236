import pytest
import torch
from torch import nn

from featx.errors import InputError
from featx.methods.finetune import block_parameters, freeze, parameter_groups, unfreeze, unfreeze_last


def test_freeze_stops_gradients_and_batchnorm_statistics(tiny):
    module = tiny.build().train()
    freeze(module)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    module(torch.randn(4, 3, 16, 16))
    assert not any(p.requires_grad for p in module.parameters())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    ("k", "names"), [(1, {"top"}), (2, {"middle", "top"}), (99, {"stem", "middle", "top"})]
)
def test_the_last_k_blocks_and_nothing_else_are_unfrozen(tiny, k, names):
    module = tiny.build()
    tuned = unfreeze_last(tiny, module, k)
    learning = {n for n, p in module.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in learning} == names
    assert len(tuned) == len(learning)
    assert not module.training


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_a_wrong_number_of_blocks_is_refused(tiny, k):
    with pytest.raises(InputError, match="at least 1"):
        unfreeze_last(tiny, tiny.build(), k)


def test_a_network_without_blocks_is_refused(tiny):
    tiny.blocks = lambda module: []
    with pytest.raises(InputError, match="tiny: no block"):
        unfreeze_last(tiny, tiny.build(), 1)


def test_blocks_may_be_modules_names_lists_and_single_parameters(tiny):
    module = tiny.build()
    module.scale = nn.Parameter(torch.ones(8))
    tiny.blocks = lambda m: [m.stem, "middle", ["top.0", "top.1"], ["drop"], ["scale", "stem"]]
    sizes = [len(block) for block in block_parameters(tiny, module)]
    assert sizes == [3, 4, 3, 1]  # nothing for the Dropout; what is shared counts once


def test_parameter_groups_part_rates_and_spare_norms_and_biases_from_decay(tiny):
    module, head = tiny.build(), nn.Linear(8, 3)
    groups = parameter_groups(
        unfreeze(module.parameters()), head.parameters(), lr_backbone=0.01, lr_head=0.1, weight_decay=0.5
    )
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {
        (0.01, 0.5),
        (0.01, 0.0),
        (0.1, 0.5),
        (0.1, 0.0),
    }
    for group in groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])
    assert sum(len(g["params"]) for g in groups) == len(list(module.parameters())) + 2
    torch.optim.SGD(groups, lr=1)


def test_empty_parameter_groups_are_left_out():
    assert len(parameter_groups([], nn.Linear(2, 2).parameters(), lr_backbone=1, lr_head=1)) == 2
