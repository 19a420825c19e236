"""Run a text network while it is fine-tuned: tokens in, features out, in a frozen and a trained part.

With dropout at the rates of its configuration (0.1) BERT is fine-tuned by Devlin et al. 2019, appendix A.3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from featx.forks import uninterrupted
from featx.methods.finetune.activations import Parts
from featx.methods.finetune.trainable_pieces import TrainablePieces, spread, take_pieces

#: Texts on which a cut is tried out.
_SAMPLE = 3


class TrainableTexts(TrainablePieces):
    """A trainable copy of the network of a backbone of texts.

    Its batches are int32 tokens (b, pieces, length) of `featx.methods.finetune.training_inputs.TextInputs`;
    `module` takes int64 (n, length), negative behind the end of a text.
    """

    def sample(self) -> Tensor:
        """Return texts of different lengths, int64 (n, length)."""
        batch = self.preprocessing.reference_batch(_SAMPLE)
        return torch.from_numpy(batch).to(self.arithmetic.device).to(torch.int64)

    @uninterrupted()
    def run_lower(self, batch: np.ndarray, at: slice = slice(None)) -> Parts:
        """Return tokens (b, pieces, t), and the frozen part's states (b, pieces, t, c), for rows `at`."""
        x = torch.from_numpy(batch[at]).to(self.arithmetic.device, non_blocking=True).to(torch.int64)
        tokens, kept = take_pieces(x, _is_token)
        with torch.no_grad(), self.arithmetic.autocast():
            states = self._cut_network.lower(tokens)[1:]
        return x, *(spread(state, kept, x.shape[:2]) for state in states)

    def join(self, upper: Callable[[Parts], Tensor], parts: Parts) -> Tensor:
        """Return the mean features of the pieces of each text, weighted by their tokens."""
        x, *states = parts
        tokens, kept = take_pieces(x, _is_token)
        with self.arithmetic.autocast():
            rows = upper((tokens, *(state.flatten(0, 1)[kept] for state in states))).float()
        if x.shape[1] == 1:
            return rows
        weights = _is_token(tokens).sum(1).to(rows.dtype)
        weighted = spread(rows * weights[:, None], kept, x.shape[:2])
        return weighted.sum(1) / _is_token(x).sum((1, 2)).to(rows.dtype)[:, None]


def _is_token(x: Tensor) -> Tensor:
    return x >= 0
