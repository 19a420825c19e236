"""Run a text network while it is fine-tuned: tokens in, features out, in a frozen and a trained part.

Dropout is on in the trained part, at the rates that the network's configuration states (0.1 in BERT, with
which it is fine-tuned: Devlin et al. 2019, appendix A.3), and off in the frozen part, whose output is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from featx.backbones.loading import one_at_a_time
from featx.forks import uninterrupted
from featx.methods.finetune.activations import Parts
from featx.methods.finetune.block_cut import CutBlocks, cut_blocks, whole_network
from featx.methods.finetune.own_dropout import OwnDropout
from featx.methods.finetune.trainable_backbone import TrainableBackbone

#: Texts on which a cut is tried out.
_SAMPLE = 3


class TrainableTexts(TrainableBackbone):
    """A trainable copy of the network of a backbone of texts.

    Its batches are int32 tokens (b, pieces, length) of `featx.methods.finetune.training_inputs.TextInputs`;
    `module` takes int64 (n, length), negative behind the end of a text.
    """

    def _prepare_normalisation(self) -> None:
        pass

    @one_at_a_time
    def _compile(self) -> CutBlocks:
        if not self.tuned:
            return whole_network(self.module)
        sample = torch.from_numpy(self.preprocessing.reference_batch(_SAMPLE)).to(self.arithmetic.device)
        with torch.autocast(self.arithmetic.device.type, enabled=False):
            return cut_blocks(self.module, self._to_network(sample))

    def _to_network(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to(torch.int64)

    @uninterrupted()
    def run_lower(self, batch: np.ndarray, at: slice = slice(None)) -> Parts:
        """Return tokens (b, pieces, t), and the frozen part's states (b, pieces, t, c), for rows `at`."""
        x = self._to_network(torch.from_numpy(batch[at]).to(self.arithmetic.device, non_blocking=True))
        tokens, kept = _pieces_of(x)
        with torch.no_grad(), self.arithmetic.autocast():
            states = self._cut_network.lower(tokens)[1:]
        return x, *(spread(state, kept, x.shape[:2]) for state in states)

    @uninterrupted()
    def run_upper(self, parts: Parts, at: slice = slice(None)) -> torch.Tensor:
        """Return features (b, d) in float32, without dropout."""
        return self._join(self._cut_network.upper, tuple(part[at] for part in parts))

    def train_upper(self, parts: Parts, key: Sequence[int]) -> torch.Tensor:
        """Return features (b, d) in float32, with dropout drawn from a generator that `key` seeds."""
        assert isinstance(self._cut_network, CutBlocks)
        with OwnDropout(key, self.arithmetic.device):
            return self._join(self._cut_network.train_upper, parts)

    def _join(self, upper: Any, parts: Parts) -> torch.Tensor:
        """Return the mean features of the pieces of each text, weighted by their tokens."""
        x, *states = parts
        tokens, kept = _pieces_of(x)
        with self.arithmetic.autocast():
            rows = upper((tokens, *(state.flatten(0, 1)[kept] for state in states))).float()
        if x.shape[1] == 1:
            return rows
        weights = (tokens >= 0).sum(1).to(rows.dtype)
        weighted = spread(rows * weights[:, None], kept, x.shape[:2])
        return weighted.sum(1) / (x >= 0).sum((1, 2)).to(rows.dtype)[:, None]


def _pieces_of(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | slice]:
    """Return the pieces (p, t) of texts (b, pieces, t), and which of the b * pieces they are."""
    flat = x.flatten(0, 1)
    if x.shape[1] == 1:
        return flat, slice(None)
    kept = (flat >= 0).any(1)
    return flat[kept], kept


def spread(rows: torch.Tensor, kept: torch.Tensor | slice, shape: torch.Size) -> torch.Tensor:
    """Return rows (p, ...) at their places in (b, pieces, ...), with zeros at the others."""
    if isinstance(kept, slice):
        return rows.unflatten(0, shape)
    placed = rows.new_zeros((len(kept), *rows.shape[1:]))
    placed[kept] = rows
    return placed.unflatten(0, shape)
