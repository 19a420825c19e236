"""Choose which layers are trained: freeze a network, unfreeze its last blocks, set a rate for each part.

Use these functions in your own training loops::

    backbone = load_backbone("vgg16")
    features = backbone.build()
    tuned = unfreeze_last(backbone, features, 4)
    optimizer = torch.optim.SGD(
        parameter_groups(tuned, head.parameters(), lr_backbone=1e-3, lr_head=1e-2), lr=1e-2, momentum=0.9
    )
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from featx.errors import InputError


def freeze(module: nn.Module) -> nn.Module:
    """Switch off the gradients of every parameter and put the module into eval mode, in place.

    Eval mode is part of freezing: in training mode BatchNorm would overwrite its running statistics, whatever
    `requires_grad` says, and Dropout would add noise.
    """
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def unfreeze(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Switch gradients on, in place, and return the parameters as a list."""
    tuned = list(parameters)
    for parameter in tuned:
        parameter.requires_grad_(True)
    return tuned


def block_parameters(backbone: Any, module: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each block of a built feature module, from input to output.

    Parameters
    ----------
    backbone : Backbone
        Its `blocks(module)` names the blocks, as modules or as lists of qualified names.
    module : torch.nn.Module
        The module that `backbone.build()` returned.

    Returns
    -------
    list of list of torch.nn.Parameter
        Blocks without parameters are left out; a parameter that is shared counts for its first block.
    """
    seen: set[int] = set()
    blocks = []
    for block in backbone.blocks(module):
        names = [block] if isinstance(block, (str, nn.Module)) else block
        parameters = []
        for name in names:
            for parameter in _parameters_of(module, name):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    parameters.append(parameter)
        if parameters:
            blocks.append(parameters)
    return blocks


def _parameters_of(module: nn.Module, name: str | nn.Module) -> list[nn.Parameter]:
    if isinstance(name, nn.Module):
        return list(name.parameters())
    parent, _, last = name.rpartition(".")
    own = module.get_submodule(parent)._parameters.get(last)
    if own is not None:  # a parameter, not a module, for example ConvNeXt's layer scale
        return [own]
    return list(module.get_submodule(name).parameters())


def unfreeze_last(backbone: Any, module: nn.Module, k: int) -> list[nn.Parameter]:
    """Freeze a built feature module except its last `k` blocks, in place.

    Parameters
    ----------
    backbone, module
        As in `block_parameters`.
    k : int
        Blocks to train, counted from the output; at least 1. More blocks than exist means all blocks.

    Returns
    -------
    list of torch.nn.Parameter
        The parameters that are trained now.

    Raises
    ------
    InputError
        `k` is below 1, or the network has no block with parameters.

    Notes
    -----
    The module stays in eval mode: BatchNorm keeps its pretrained statistics and trains only its affine
    parameters. A few hundred images in batches of 32 estimate means and variances far worse than the
    million images of the pretraining, and updating them would spoil the pretrained features.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"the number of blocks to unfreeze must be at least 1, got {k!r}")
    blocks = block_parameters(backbone, module)
    if not blocks:
        raise InputError(f"backbone {backbone.name}: no block with parameters to unfreeze")
    freeze(module)
    return unfreeze(parameter for block in blocks[-k:] for parameter in block)


def parameter_groups(
    tuned: Iterable[nn.Parameter] | Sequence[Sequence[nn.Parameter]],
    head: Iterable[nn.Parameter],
    *,
    lr_backbone: float,
    lr_head: float,
    weight_decay: float = 0.0,
    layer_decay: float = 1.0,
    head_decay: float | None = None,
    not_decayed: Iterable[nn.Parameter] = (),
) -> list[dict[str, Any]]:
    """Return parameter groups for a torch optimiser: pretrained layers and head, each with its own rate.

    Parameters
    ----------
    tuned : iterable of torch.nn.Parameter, or list of lists of them
        Pretrained parameters that are trained; lists are blocks, from input to output.
    head : iterable of torch.nn.Parameter
        Parameters of the new head.
    lr_backbone, lr_head : float
        Learning rates of the two.
    weight_decay : float
        Weight decay of tensors with two or more axes; biases and normalisation parameters get none.
    layer_decay : float
        Layer-wise decay of the rate: the block `k` blocks below the last one has the rate
        ``lr_backbone * layer_decay ** k`` (Clark et al., *ELECTRA*, 2020, appendix A; for images Bao et al.,
        *BEiT*, 2022).
    head_decay : float, optional
        Weight decay of the head, if it differs.
    not_decayed : iterable of torch.nn.Parameter
        Tensors with two or more axes that get no weight decay either: tokens and position embeddings of
        transformers (`featx.methods.finetune.optimisers.not_decayed` finds them).

    Returns
    -------
    list of dict
        Two groups for each block and for the head, with `params`, `lr`, `weight_decay`; empty groups are
        left out.
    """
    blocks: list[Any] = list(tuned)
    if not blocks or isinstance(blocks[0], nn.Parameter):
        blocks = [blocks]
    rates = [lr_backbone * layer_decay**below for below in reversed(range(len(blocks)))]
    decays = [weight_decay] * len(blocks) + [weight_decay if head_decay is None else head_decay]
    spared = {id(parameter) for parameter in not_decayed}
    groups = []
    for parameters, lr, decay in zip([*blocks, list(head)], [*rates, lr_head], decays, strict=True):
        for decaying in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1 and id(p) not in spared) == decaying]
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": decay if decaying else 0.0})
    return groups


def snapshot(parameters: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    """Copy the values of parameters, for `restore`."""
    return [parameter.detach().clone() for parameter in parameters]


def restore(parameters: Iterable[nn.Parameter], values: Iterable[torch.Tensor]) -> None:
    """Set parameters to the values of a `snapshot`, in place."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
