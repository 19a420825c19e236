"""Run a backbone fast while it is fine-tuned: pixels in, features out, in a frozen and a trained part."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.backbones.loading import lay_channels_last, one_at_a_time
from featx.forks import uninterrupted
from featx.methods.finetune.activations import Parts
from featx.methods.finetune.batches import View
from featx.methods.finetune.folding import CutNetwork, cut_frozen_part, fold, trace, uncut
from featx.methods.finetune.freezing import block_parameters, freeze, unfreeze, unfreeze_last
from featx.methods.finetune.memory import run_in_parts
from featx.methods.finetune.optimisers import not_decayed
from featx.methods.finetune.precision import Arithmetic
from featx.methods.finetune.training_inputs import TrainingInputs, training_inputs

_ALL = slice(None)


def kind_of_backbone(backbone: Any) -> str:
    """Return the kind of input of a backbone; without one, as stand-ins have none, images."""
    return getattr(backbone, "kind", "image")


def row_dim_of(backbone: Any) -> int:
    """Return the length of a row of features, which may hold the embeddings of several windows of a clip."""
    dim: int = getattr(backbone, "row_dim", backbone.dim)
    return dim


class TrainableBackbone:
    """A trainable copy of a backbone's feature network, which takes images.

    It runs a folded copy of `module`, cut where the trained part begins (see `folding`); the two share their
    trained parameters. A network that cannot be traced runs as it is.

    Attributes
    ----------
    module : torch.nn.Module
        The network as `backbone.build` made it, from normalised images (n, 3, h, w) to features (n, d).
        Always in eval mode: BatchNorm keeps its pretrained statistics, Dropout and stochastic depth are off.
    preprocessing : Preparation
        How the backbone prepares its inputs.
    kind : str
        Kind of its inputs.
    tuned : list of torch.nn.Parameter
        The trained parameters; empty at first.
    """

    def __init__(self, backbone: Any, arithmetic: Arithmetic):
        self.arithmetic = arithmetic
        self._backbone = backbone
        device = arithmetic.device
        self.module: nn.Module = freeze(backbone.build()).to(device=device)
        self.kind = kind_of_backbone(backbone)
        self.preprocessing: Any = backbone.preprocessing
        self._prepare_normalisation()
        self.tuned: list[nn.Parameter] = []
        self._compiled: CutNetwork | None = None

    def _prepare_normalisation(self) -> None:
        lay_channels_last(self.module)
        device = self.arithmetic.device
        self._mean = torch.tensor(self.preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(self.preprocessing.std, device=device).view(1, 3, 1, 1) * 255

    def inputs(self, sources: Any) -> TrainingInputs:
        """Return sources as inputs of this network; what is that already is returned as it is."""
        return training_inputs(sources, self.kind, self.preprocessing)

    @torch.no_grad()
    def load_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Set parameters of `module`, by name."""
        parameters = dict(self.module.named_parameters())
        for name, value in values.items():
            parameters[name].copy_(torch.tensor(value))
        self._compiled = None

    def blocks(self, mode: str, count: int) -> list[list[nn.Parameter]]:
        """Return the parameters that a mode trains, block by block from input to output.

        Parameters outside of all blocks come first, if the mode trains every layer.
        """
        found = block_parameters(self._backbone, self.module)
        if mode == "last":
            return found[-count:]
        named = {id(parameter) for block in found for parameter in block}
        rest = [p for p in self.module.parameters() if id(p) not in named]
        return [rest, *found] if rest else found

    def not_decayed(self) -> list[nn.Parameter]:
        """Return the parameters with several axes that weight decay must spare; none of a CNN."""
        if not getattr(self._backbone, "is_transformer", False):
            return []
        return not_decayed(self.module, self._backbone.skeleton())

    def share_parameters(self, other: TrainableBackbone) -> None:
        """Use and train the parameters of another network, whose names are among this one's."""
        for name, parameter in other.module.named_parameters(remove_duplicate=False):
            parent, _, last = name.rpartition(".")
            setattr(self.module.get_submodule(parent), last, parameter)
        self.tuned = other.tuned
        self._compiled = None

    def pretrained_values(self, parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
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
    def _cut_network(self) -> CutNetwork:
        if self._compiled is None:
            self._compiled = self._compile()
        return self._compiled

    @one_at_a_time
    def _compile(self) -> CutNetwork:
        sample = torch.randn((2, 3, *self.preprocessing.size), generator=torch.Generator().manual_seed(0))
        sample = sample.to(self.arithmetic.device, memory_format=torch.channels_last)
        graph = trace(self.module, sample)
        if graph is None:
            return uncut(self.module)
        fold(graph)
        return cut_frozen_part(graph, sample) if self.tuned else uncut(graph)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_compiled": None}  # made again from `module` when it is needed

    @property
    def is_cut(self) -> bool:
        """Tell whether there is a frozen part, whose output is worth storing."""
        return self._cut_network.is_cut

    @uninterrupted()
    def run_lower(self, pixels: np.ndarray, at: slice = _ALL) -> Parts:
        """Return the output of the frozen part for rows `at` of uint8 pixels (b, h, w, 3)."""
        batch = torch.from_numpy(pixels[at]).to(self.arithmetic.device, non_blocking=True)
        # (b, h, w, 3) seen as (b, 3, h, w) is what torch calls channels_last: nothing is copied.
        x = (batch.permute(0, 3, 1, 2).float() - self._mean) / self._std
        with torch.no_grad(), self.arithmetic.autocast():
            return self._cut_network.lower(x)

    @uninterrupted()
    def run_upper(self, parts: Parts, at: slice = _ALL) -> torch.Tensor:
        """Return features (b, d) in float32 for rows `at` of the frozen part's output, with gradients."""
        with self.arithmetic.autocast():
            return self._cut_network.upper(tuple(part[at] for part in parts)).float()

    def train_upper(self, parts: Parts, key: Sequence[int]) -> torch.Tensor:
        """Return features (b, d) as a step of the training computes them; `key` seeds what is random."""
        return self.run_upper(parts)


@torch.no_grad()
def frozen_outputs(
    network: TrainableBackbone,
    sources: Any,
    positions: np.ndarray,
    batch_size: int,
    view: View | None = None,
) -> Generator[tuple[np.ndarray, Parts]]:
    """Yield (positions, output of the frozen part) of inputs, in the plain view unless one is given.

    Images come in order, texts by length. `batch_size` does not change the result; batches get smaller when
    memory runs out.
    """
    inputs = network.inputs(sources)
    with closing(inputs.batches(inputs.sort(positions), batch_size, view)) as loader:
        for rows, batch in loader:
            begin = 0
            for parts in run_in_parts(len(rows), partial(network.run_lower, batch), network.kind):
                end = begin + len(parts[0])
                yield rows[begin:end], parts
                begin = end


@torch.no_grad()
def forward_inputs(
    network: TrainableBackbone, sources: Any, positions: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield (positions, features (b, d)) of inputs in their plain view, in the order of `frozen_outputs`."""
    for rows, parts in frozen_outputs(network, sources, positions, batch_size):
        yield rows, torch.cat(run_in_parts(len(rows), partial(network.run_upper, parts), network.kind))


@torch.no_grad()
def forward_all(
    network: TrainableBackbone,
    sources: Any,
    batch_size: int,
    head: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the features (n, d) of all inputs, in order, or what `head` makes of those of each batch."""
    positions, found = [], []
    for at, part in forward_inputs(network, sources, np.arange(len(sources)), batch_size):
        positions.append(at)
        found.append(part if head is None else head(part))
    rows = torch.cat(found)
    places = torch.from_numpy(np.concatenate(positions)).to(rows.device)
    return torch.empty_like(rows).index_copy_(0, places, rows)
