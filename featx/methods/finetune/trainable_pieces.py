"""Run a network while it is fine-tuned whose inputs consist of pieces: texts, and clips with their windows.

Dropout is on in the trained part, at the rates that the network's configuration states, and off in the frozen
part, whose output is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from featx.backbones.loading import one_at_a_time
from featx.forks import uninterrupted
from featx.methods.finetune.activations import Parts
from featx.methods.finetune.block_cut import CutBlocks, cut_blocks, whole_network
from featx.methods.finetune.own_dropout import OwnDropout
from featx.methods.finetune.trainable_backbone import TrainableBackbone


class TrainablePieces(TrainableBackbone):
    """A trainable copy of a network, whose batches are (b, pieces, ...); `module` takes pieces (n, ...).

    A subclass must define `run_lower`, `sample` and `join`.
    """

    #: Whether what runs before the blocks is skipped above the cut; see `cut_blocks`.
    skips_stem = False

    def sample(self) -> Tensor:
        """Return a few pieces on which a cut is tried out, as the network takes them."""
        raise NotImplementedError

    def join(self, upper: Callable[[Parts], Tensor], parts: Parts) -> Tensor:
        """Return the features (b, d) of inputs, joined from those that `upper` gives for their pieces."""
        raise NotImplementedError

    def _prepare_normalisation(self) -> None:
        pass

    @one_at_a_time
    def _compile(self) -> CutBlocks:
        if not self.tuned:
            return whole_network(self.module)
        with torch.autocast(self.arithmetic.device.type, enabled=False):
            return cut_blocks(self.module, self.sample(), skips_stem=self.skips_stem)

    @uninterrupted()
    def run_upper(self, parts: Parts, at: slice = slice(None)) -> Tensor:
        """Return features (b, d) in float32, without dropout."""
        return self.join(self._cut_network.upper, tuple(part[at] for part in parts))

    def train_upper(self, parts: Parts, key: Sequence[int]) -> Tensor:
        """Return features (b, d) in float32, with dropout drawn from a generator that `key` seeds."""
        assert isinstance(self._cut_network, CutBlocks)
        with OwnDropout(key, self.arithmetic.device):
            return self.join(self._cut_network.train_upper, parts)


def take_pieces(x: Tensor, is_value: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | slice]:
    """Return the pieces (p, t, ...) of inputs (b, pieces, t, ...), and which of the b * pieces they are.

    `is_value` returns where positions (n, t) are no padding. A piece without a value is none.
    """
    flat = x.flatten(0, 1)
    if x.shape[1] == 1:
        return flat, slice(None)
    kept = is_value(flat).any(1)
    return flat[kept], kept


def spread(rows: Tensor, kept: Tensor | slice, shape: torch.Size) -> Tensor:
    """Return rows (p, ...) at their places in (b, pieces, ...), with zeros at the others."""
    if isinstance(kept, slice):
        return rows.unflatten(0, shape)
    placed = rows.new_zeros((len(kept), *rows.shape[1:]))
    placed[kept] = rows
    return placed.unflatten(0, shape)
