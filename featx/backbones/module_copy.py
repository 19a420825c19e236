"""Copy a module of the user's: nothing that featx does changes it, and no later change of it counts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from featx.errors import InputError, reason_of

#: Parameters and buffers of lazy modules before their first run.
_UNINITIALISED = (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)


def copy_module(module: nn.Module, label: str) -> nn.Module:
    """Return a copy of a module on the CPU, in fp32 and eval mode; the module stays as it is."""
    memo: dict[int, Any] = {}
    for tensor in _tensors(module):
        if isinstance(tensor, _UNINITIALISED):
            raise InputError(f"{label}: it has parameters without a shape yet; run it once on images first")
        if tensor.is_meta:
            raise InputError(f"{label}: its parameters are on the meta device; load their values first")
        copied = tensor.detach().to("cpu", copy=True)
        memo[id(tensor)] = nn.Parameter(copied, False) if isinstance(tensor, nn.Parameter) else copied
    try:
        with torch.no_grad():  # else copies of scripted parameters are results of an operation
            network = copy.deepcopy(module, memo).to("cpu").float().eval()
    except Exception as error:  # code of the user's
        raise InputError(
            f"{label}: this module cannot be copied ({reason_of(error)}); featx works on a copy, so take out "
            "what cannot be copied, such as open files, locks and generators"
        ) from error
    for part in network.modules():
        part.training = False  # whatever its own eval() does
        if isinstance(part, torch.jit.ScriptModule):
            continue
        # A plain tensor does not move with the network; a buffer does.
        for key, value in [(k, v) for k, v in vars(part).items() if isinstance(v, Tensor)]:
            delattr(part, key)
            part.register_buffer(key, value.float() if value.is_floating_point() else value, persistent=False)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def copy_sharing_parameters(network: nn.Module) -> nn.Module:
    """Return a copy that shares the frozen parameters, so that large networks need their memory once."""
    return copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of torch.compile and of parallel training."""
    while True:
        inner = getattr(module, "_orig_mod", None)  # torch.compile
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield parameters, buffers and other tensors that modules hold as attributes."""
    yield from module.parameters()
    yield from module.buffers()
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, Tensor))
