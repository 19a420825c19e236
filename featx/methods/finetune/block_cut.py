"""Cut a network that cannot be traced before one of its blocks, so that what lies below runs once.

Networks of transformers are a list of blocks that pass a hidden state from one to the next. The part below a
block is the network in which that block and those after it pass on what they are given; the part above is
the network in which the blocks below do nothing, and the block takes a stored state in place of what it is
given. Masks and positions are made anew by the network itself, as no rule tells how it makes them.

Whether a cut is exact is not assumed of a family but tried out: on a few inputs both parts together must give
what the whole network gives, and the state must depend on no trained parameter. A network of which this is
not true (one whose blocks share more than the hidden state) runs whole.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featx.methods.finetune.activations import Parts
from featx.methods.finetune.folding import CutNetwork

#: Largest differences to the whole network: those of rounding.
_RTOL, _ATOL = 1e-3, 1e-5


@dataclass
class CutBlocks(CutNetwork):
    """A network in two parts that also runs as it is trained, with dropout in the trained part.

    `train_upper` is `upper` in training mode. A state is (b, t, c), whatever the network's own order is.
    """

    train_upper: Any = None


def cut_blocks(module: nn.Module, sample: Tensor) -> CutBlocks:
    """Cut a module before the first block with trained parameters, those with `requires_grad`.

    Parameters
    ----------
    module : torch.nn.Module
        From a batch to features (n, d). It is not changed; the parts share its parameters and buffers.
    sample : Tensor of shape (n, t), n != t
        A batch on which the cut is tried out.

    Returns
    -------
    CutBlocks
        The lower part returns the batch itself, and the state (n, t, c) before the block. Without an exact
        cut `is_cut` is False, and it returns the batch only.
    """
    for name, first in _candidates(module):
        found = _cut_before(module, name, first, sample)
        if found is not None:
            return found
    return whole_network(module)


def whole_network(module: nn.Module) -> CutBlocks:
    """Return the network with an empty lower part."""
    training = set_training(share(module))
    return CutBlocks(
        lambda x: (x,),
        lambda parts: module(parts[0]),
        is_cut=False,
        train_upper=lambda parts: training(parts[0]),
    )


def share(module: nn.Module) -> nn.Module:
    """Return a copy of a module that shares all parameters and buffers with it."""
    tensors = chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def set_training(module: nn.Module) -> nn.Module:
    """Put a module into training mode, except BatchNorm, which keeps its pretrained statistics."""
    module.train()
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
    return module


def _candidates(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the lists of blocks of which the lower ones are frozen, and the first trained block of each."""
    for name, blocks in module.named_modules():
        if isinstance(blocks, nn.ModuleList):
            trained = [i for i, block in enumerate(blocks) if any(p.requires_grad for p in block.parameters())]
            if trained and trained[0]:
                yield name, trained[0]


def _cut_before(module: nn.Module, name: str, first: int, sample: Tensor) -> CutBlocks | None:
    state, lengths = _try_out(module, name, first, sample)
    if state is None or state.requires_grad or state.ndim != 3 or sample.shape[0] == sample.shape[1]:
        return None
    if tuple(state.shape[:2]) not in (tuple(sample.shape), tuple(sample.shape[::-1])):
        return None
    turned = tuple(state.shape[:2]) != tuple(sample.shape)
    now = threading.local()  # several threads may run one network

    lower, upper, training = share(module), share(module), set_training(share(module))
    for number, block in enumerate(_list(lower, name)):
        if number >= first:
            work = partial(_keep, now) if number == first else _pass_on
            block.forward = partial(work, lengths[number])
    for part in (upper, training):
        blocks = _list(part, name)
        for number in range(first):
            blocks[number].forward = partial(_pass_on, lengths[number])
        blocks[first].forward = partial(_resume, now, blocks[first].forward)

    def run_lower(x: Tensor) -> Parts:
        lower(x)
        kept = now.__dict__.pop("state")
        return x, kept.transpose(0, 1).contiguous() if turned else kept

    def run_upper(part: nn.Module, parts: Parts) -> Tensor:
        now.state = parts[1].transpose(0, 1) if turned else parts[1]
        try:
            rows: Tensor = part(parts[0])
            return rows
        finally:
            now.__dict__.pop("state", None)

    found = CutBlocks(run_lower, partial(run_upper, upper), True, partial(run_upper, training))
    with torch.no_grad():
        same = torch.allclose(found.upper(found.lower(sample)), module(sample), rtol=_RTOL, atol=_ATOL)
    return found if same else None


def _try_out(
    module: nn.Module, name: str, first: int, sample: Tensor
) -> tuple[Tensor | None, dict[int, int]]:
    """Return the state before a block, and how many values each block returns: 0 for a tensor alone.

    The state is None if the blocks do not run one after the other, or pass on more than it.
    """
    state: list[Tensor] = []
    lengths: dict[int, int] = {}
    order: list[int] = []

    def enter(number: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        order.append(number)
        if number == first:
            state.append(_hidden(args, kwargs))

    def leave(number: int, block: nn.Module, args: Any, output: Any) -> None:
        values = output if isinstance(output, tuple) else (output,)
        if isinstance(values[0], Tensor) and all(value is None for value in values[1:]):
            lengths[number] = len(output) if isinstance(output, tuple) else 0

    tried = share(module)
    for number, block in enumerate(_list(tried, name)):
        block.register_forward_pre_hook(partial(enter, number), with_kwargs=True)
        block.register_forward_hook(partial(leave, number))
    with torch.enable_grad():
        tried(sample)
    in_turn = order == list(range(len(_list(tried, name)))) and len(lengths) == len(order)
    usable = in_turn and isinstance(state[0], Tensor)
    return (state[0] if usable else None), lengths


def _list(module: nn.Module, name: str) -> nn.ModuleList:
    blocks = module.get_submodule(name)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the hidden state that a block is given: its first argument."""
    return args[0] if args else next(iter(kwargs.values()), None)


def _pass_on(length: int, *args: Any, **kwargs: Any) -> Any:
    """Return the state that a block is given, in the form of what it returns."""
    state = _hidden(args, kwargs)
    return (state, *(None,) * (length - 1)) if length else state


def _keep(now: threading.local, length: int, *args: Any, **kwargs: Any) -> Any:
    now.state = _hidden(args, kwargs)
    return _pass_on(length, *args, **kwargs)


def _resume(now: threading.local, forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a block on the stored state."""
    if args:
        return forward(now.state, *args[1:], **kwargs)
    return forward(**{**kwargs, next(iter(kwargs)): now.state})
