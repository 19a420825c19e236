"""Cut a network that cannot be traced before one of its blocks, so that what lies below runs once.

Networks of transformers are a list of blocks that pass a hidden state from one to the next. The part below a
block is the network in which that block and those after it pass on what they are given; the part above is
the network in which the blocks below do nothing, and the block takes a stored state in place of what it is
given. Masks and positions are made anew by the network itself, as no rule tells how it makes them. What runs
before the blocks and makes nothing but the state (the convolutions of a network of audio) is skipped above
the cut: zeros of the right shape stand in its place.

Whether a cut is exact is not assumed of a family but tried out: on a few inputs both parts together must give
what the whole network gives, and the state must depend on no trained parameter. A network of which this is
not true (one whose blocks share more than the hidden state) runs whole.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import suppress
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


#: What torch raises where a network cannot run on what the parts give it.
_UNRUNNABLE = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)


class _Reached(Exception):
    """The state before the block is known, and nothing behind it needs to run."""


@dataclass
class CutBlocks(CutNetwork):
    """A network in two parts that also runs as it is trained, with dropout in the trained part.

    `train_upper` is `upper` in training mode. A state is (b, t, c), whatever the network's own order is.
    """

    train_upper: Any = None


def cut_blocks(module: nn.Module, sample: Tensor, *, skips_stem: bool = False) -> CutBlocks:
    """Cut a module before the first block with trained parameters, those with `requires_grad`.

    Parameters
    ----------
    module : torch.nn.Module
        From a batch to features (n, d). It is not changed; the parts share its parameters and buffers.
    sample : Tensor of shape (n, t) or (n, t, bands), n != t
        A batch on which the cut is tried out.
    skips_stem : bool, default=False
        Whether modules that run before the blocks are skipped above the cut, where that is exact. A state may
        then have another length than the batch.

    Returns
    -------
    CutBlocks
        The lower part returns the batch itself, and the state (n, t, c) before the block. Without an exact
        cut `is_cut` is False, and it returns the batch only.
    """
    for name, first in _candidates(module):
        # Below the first block there is nothing but the stem.
        for skips in ([True] if skips_stem else []) + ([False] if first else []):
            try:
                found = _cut_before(module, name, first, sample, skips=skips, any_length=skips_stem)
            except _UNRUNNABLE:
                continue
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
    """Put a module into training mode, except BatchNorm, which keeps its pretrained statistics.

    Networks of transformers never leave out whole layers then (LayerDrop), one of which may be that in which
    a stored state enters, nor mask states by themselves, with numbers of numpy's global generator.
    """
    module.train()
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
        for holder in (part, getattr(part, "config", None)):
            for name, off in (("layerdrop", 0.0), ("encoder_layerdrop", 0.0), ("apply_spec_augment", False)):
                if isinstance(getattr(holder, name, None), (int, float)):
                    setattr(holder, name, off)
    return module


def _candidates(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the lists of blocks of which the lower ones are frozen, and the first trained block of each."""
    for name, blocks in module.named_modules():
        if isinstance(blocks, nn.ModuleList):
            trained = [
                i for i, block in enumerate(blocks) if any(p.requires_grad for p in block.parameters())
            ]
            if trained:
                yield name, trained[0]


def _cut_before(
    module: nn.Module, name: str, first: int, sample: Tensor, *, skips: bool, any_length: bool
) -> CutBlocks | None:
    state, lengths, stem = _try_out(module, name, first, sample)
    if state is None or state.requires_grad or state.ndim != 3 or not (first or stem):
        return None
    turned = state.shape[0] != len(sample)
    ordered = state.shape[:2][::-1] if turned else state.shape[:2]
    if ordered[0] != len(sample) or ordered[0] == ordered[1]:
        return None
    if not any_length and tuple(ordered) != tuple(sample.shape):
        return None
    now = threading.local()  # several threads may run one network

    lower, upper, training = share(module), share(module), set_training(share(module))
    _list(lower, name)[first].forward = partial(_keep, now)
    for part in (upper, training):
        blocks = _list(part, name)
        for number in range(first):
            blocks[number].forward = partial(_pass_on, lengths[number])
        blocks[first].forward = partial(_resume, now, blocks[first].forward)
        for path in stem if skips else ():
            skipped = part.get_submodule(path).eval()  # where it is looked at, it draws nothing
            skipped.forward = partial(_outline, {}, skipped.forward)

    def run_lower(x: Tensor) -> Parts:
        with suppress(_Reached):
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
        expected = module(sample)
        for rows in (sample, sample[:2]):  # the second time, the shapes of what is skipped are known
            found_rows = found.upper(found.lower(rows))
            if not torch.allclose(found_rows, expected[: len(rows)], rtol=_RTOL, atol=_ATOL):
                return None
    return found


def _try_out(
    module: nn.Module, name: str, first: int, sample: Tensor
) -> tuple[Tensor | None, dict[int, int], list[str]]:
    """Return the state before a block, how many values each block returns, and the stem.

    The number is 0 for a tensor alone. The state is None if the blocks do not run one after the other, or
    pass on more than it. The stem are the outermost modules without trained parameters that ran once before
    the blocks, from batches to batches.
    """
    state: list[Tensor] = []
    lengths: dict[int, int] = {}
    order: list[int] = []
    ran: list[str] = []
    count = len(sample)

    def enter(number: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        order.append(number)
        if number == first:
            state.append(_hidden(args, kwargs))

    def leave(number: int, block: nn.Module, args: Any, output: Any) -> None:
        values = output if isinstance(output, tuple) else (output,)
        if isinstance(values[0], Tensor) and all(value is None for value in values[1:]):
            lengths[number] = len(output) if isinstance(output, tuple) else 0

    def note(path: str, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = (*args, *kwargs.values(), *(output if isinstance(output, tuple) else (output,)))
        if not order and all(isinstance(one, Tensor) and one.shape[:1] == (count,) for one in given):
            ran.append(path)

    tried = share(module)
    for number, block in enumerate(_list(tried, name)):
        block.register_forward_pre_hook(partial(enter, number), with_kwargs=True)
        block.register_forward_hook(partial(leave, number))
    for path, part in tried.named_modules():
        own = list(part.parameters())
        holds_blocks = not path or f"{name}.".startswith(f"{path}.")
        if own and not holds_blocks and not any(parameter.requires_grad for parameter in own):
            part.register_forward_hook(partial(note, path), with_kwargs=True)
    with torch.enable_grad():
        tried(sample)
    in_turn = order == list(range(len(_list(tried, name)))) and len(lengths) == len(order)
    usable = in_turn and isinstance(state[0], Tensor)
    stem = [path for path in ran if ran.count(path) == 1]
    outermost = [path for path in stem if not any(path.startswith(f"{other}.") for other in stem)]
    return (state[0] if usable else None), lengths, outermost


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


def _keep(now: threading.local, *args: Any, **kwargs: Any) -> Any:
    now.state = _hidden(args, kwargs)
    raise _Reached


def _outline(known: dict[Any, Any], run: Any, *args: Any, **kwargs: Any) -> Any:
    """Return zeros in place of what a module gives, which is run on one row to learn their shapes."""
    given = (*args, *kwargs.values())
    key = tuple(value.shape[1:] for value in given), given[0].dtype, torch.is_autocast_enabled("cpu")
    if key not in known:
        with torch.no_grad():
            found = run(*(v[:1] for v in args), **{name: v[:1] for name, v in kwargs.items()})
        several = isinstance(found, tuple)
        shapes = [(one.new_zeros(()), one.shape[1:]) for one in (found if several else (found,))]
        known[key] = several, shapes
    several, shapes = known[key]
    zeros = [zero.expand(len(given[0]), *shape) for zero, shape in shapes]
    return tuple(zeros) if several else zeros[0]


def _resume(now: threading.local, forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a block on the stored state."""
    if args:
        return forward(now.state, *args[1:], **kwargs)
    return forward(**{**kwargs, next(iter(kwargs)): now.state})
