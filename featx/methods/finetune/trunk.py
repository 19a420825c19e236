"""Run the pretrained part of the network during fine-tuning, fast: pixels in, features out."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.backbones.loading import one_at_a_time
from featx.forks import uninterrupted
from featx.inputs.image.preprocess import Preprocessing
from featx.methods.finetune.batches import View, batches, plain, workers
from featx.methods.finetune.folding import Split, fold, split_frozen, trace, whole
from featx.methods.finetune.freezing import block_parameters, freeze, unfreeze, unfreeze_last
from featx.methods.finetune.memory import in_parts
from featx.methods.finetune.precision import Arithmetic

Parts = tuple[torch.Tensor, ...]


class Trunk:
    """A trainable copy of a backbone's feature network.

    Parameters
    ----------
    backbone : Backbone
        Gives `build`, `blocks` and `preprocessing`.
    arithmetic : Arithmetic
        Device and precision.

    Attributes
    ----------
    preprocessing : Preprocessing
        That of the backbone.
    module : torch.nn.Module
        The network as `backbone.build` made it, normalised (n, 3, h, w) to features (n, d). Always in
        eval mode: BatchNorm keeps its pretrained statistics, Dropout and stochastic depth are off.
    tuned : list of torch.nn.Parameter
        What is trained; empty at first.

    Notes
    -----
    What runs is a folded copy of `module`, cut where the trained part begins (see `folding`); the two
    share their trained parameters. A network that cannot be traced runs as it is.
    """

    def __init__(self, backbone: Any, arithmetic: Arithmetic):
        self.arithmetic = arithmetic
        self._backbone = backbone
        device = arithmetic.device
        self.module: nn.Module = freeze(backbone.build()).to(device=device)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocessing: Preprocessing = backbone.preprocessing
        self._mean = torch.tensor(self.preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(self.preprocessing.std, device=device).view(1, 3, 1, 1) * 255
        self.tuned: list[nn.Parameter] = []
        self._compiled: Split | None = None

    @torch.no_grad()
    def put(self, values: Mapping[str, np.ndarray]) -> None:
        """Give parameters of `module` other values, by name."""
        parameters = dict(self.module.named_parameters())
        for name, value in values.items():
            parameters[name].copy_(torch.tensor(value))
        self._compiled = None

    def blocks(self, mode: str, count: int) -> list[list[nn.Parameter]]:
        """Return the parameters that a mode trains, by the end, block by block from input to output.

        What belongs to no block is the first one, where a mode trains everything.
        """
        found = block_parameters(self._backbone, self.module)
        if mode == "last":
            return found[-count:]
        named = {id(parameter) for block in found for parameter in block}
        rest = [p for p in self.module.parameters() if id(p) not in named]
        return [rest, *found] if rest else found

    def follow(self, other: Trunk) -> None:
        """Adopt the parameters of another trunk, whose names are among this one's, and train the same ones.

        From then on what trains the one trains both.
        """
        for name, parameter in other.module.named_parameters(remove_duplicate=False):
            parent, _, last = name.rpartition(".")
            setattr(self.module.get_submodule(parent), last, parameter)
        self.tuned = other.tuned
        self._compiled = None

    def pretrained(self, parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
        """Return the values that parameters of `module` have in the untrained backbone."""
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        origin = dict(self._backbone.module.named_parameters())
        device = self.arithmetic.device
        return [origin[names[id(parameter)]].detach().to(device) for parameter in parameters]

    def unfreeze(self, mode: str, blocks: int) -> None:
        """Make the last `blocks` blocks (``"last"``) or every layer (other modes) trainable."""
        if mode == "last":
            self.tuned = unfreeze_last(self._backbone, self.module, blocks)
        else:
            self.tuned = unfreeze(self.module.parameters())
        self._compiled = None

    @property
    def _split(self) -> Split:
        if self._compiled is None:
            self._compiled = self._compile()
        return self._compiled

    @one_at_a_time
    def _compile(self) -> Split:
        sample = torch.randn((2, 3, *self.preprocessing.size), generator=torch.Generator().manual_seed(0))
        sample = sample.to(self.arithmetic.device, memory_format=torch.channels_last)
        graph = trace(self.module, sample)
        if graph is None:
            return whole(self.module)
        fold(graph)
        return split_frozen(graph, sample) if self.tuned else whole(graph)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_compiled": None}  # made again from `module` when it is needed

    @property
    def cut(self) -> bool:
        """Tell whether a frozen lower part was cut off, whose output is worth storing."""
        return self._split.cuts

    @uninterrupted()
    def before(self, pixels: np.ndarray) -> Parts:
        """Return the output of the frozen part for uint8 pixels (b, h, w, 3)."""
        batch = torch.from_numpy(pixels).to(self.arithmetic.device, non_blocking=True)
        # (b, h, w, 3) seen as (b, 3, h, w) is what torch calls channels_last: nothing is copied.
        x = (batch.permute(0, 3, 1, 2).float() - self._mean) / self._std
        with torch.no_grad(), self.arithmetic.autocast():
            return self._split.before(x)

    @uninterrupted()
    def after(self, parts: Parts) -> torch.Tensor:
        """Return features (b, d) in float32 for the output of the frozen part; gradients may flow."""
        with self.arithmetic.autocast():
            return self._split.after(parts).float()


@torch.no_grad()
def frozen_parts(
    trunk: Trunk, images: Sequence[Any], positions: np.ndarray, batch_size: int, view: View | None = None
) -> Generator[tuple[np.ndarray, Parts]]:
    """Yield (positions, output of the frozen part) for images in their plain view or another, in order.

    `batch_size` changes no result; where memory runs out, smaller batches come.
    """
    with (
        ThreadPoolExecutor(workers(), "featx-decode") as pool,
        closing(batches(images, positions, batch_size, view or plain(trunk.preprocessing), pool)) as loader,
    ):
        for rows, pixels in loader:
            begin = 0
            for parts in in_parts(len(rows), partial(pixel_parts, trunk, pixels)):
                end = begin + len(parts[0])
                yield rows[begin:end], parts
                begin = end


@torch.no_grad()
def features(
    trunk: Trunk, images: Sequence[Any], positions: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield (positions, features (b, d)) of images in their plain view, in order."""
    for rows, parts in frozen_parts(trunk, images, positions, batch_size):
        yield rows, torch.cat(in_parts(len(rows), partial(_after, trunk, parts)))


def pixel_parts(trunk: Trunk, pixels: np.ndarray, at: slice) -> Parts:
    """Run `Trunk.before` on some rows of a batch."""
    return trunk.before(pixels[at])


def _after(trunk: Trunk, parts: Parts, at: slice) -> torch.Tensor:
    return trunk.after(tuple(part[at] for part in parts))
