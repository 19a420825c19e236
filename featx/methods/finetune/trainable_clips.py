"""Run a network of clips while it is fine-tuned: windows in, features out, in a frozen and a trained part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from featx.backbones.audio_input import is_value
from featx.forks import uninterrupted
from featx.inputs.audio.reference_clips import reference_clips
from featx.methods.finetune.activations import Parts
from featx.methods.finetune.trainable_pieces import TrainablePieces, spread, take_pieces

#: Clips on which a cut is tried out.
_SAMPLE = 3


class TrainableClips(TrainablePieces):
    """A trainable copy of the network of a backbone of clips.

    Its batches are float32 windows (b, windows, positions[, bands]) of
    `featx.methods.finetune.clip_inputs.ClipInputs`; `module` takes windows (n, positions[, bands]) with
    `PADDING` behind shorter ones. Where it does not mask them, windows of one length run together.
    """

    skips_stem = True

    def _prepare_normalisation(self) -> None:
        self._states: dict[int, int] = {}  # of the frozen part, by the positions of a window

    def sample(self) -> Tensor:
        """Return windows of different lengths, or of one if the network takes no others together."""
        preparation = self.preprocessing
        if preparation.masks:
            batch = preparation.reference_batch(_SAMPLE)
        else:
            clips = reference_clips(_SAMPLE, preparation.front_end.rate, preparation.window)
            shortest = min(preparation.samples, *map(len, clips))
            batch = np.concatenate([preparation.transform(clip[:shortest])[:1] for clip in clips])
        return torch.from_numpy(batch).to(self.arithmetic.device)

    @uninterrupted()
    def run_lower(self, batch: np.ndarray, at: slice = slice(None)) -> Parts:
        """Return windows (b, windows, t[, bands]), and the frozen part's states (b, windows, s, c)."""
        x = torch.from_numpy(batch[at]).to(self.arithmetic.device, non_blocking=True)
        if not self.is_cut:
            return (x,)
        windows, kept = take_pieces(x, is_value)
        with torch.no_grad(), self.arithmetic.autocast():
            groups = [(places, self._cut_network.lower(some)[1]) for places, some in self._grouped(windows)]
        for (_, some), (_, states) in zip(self._grouped(windows), groups, strict=True):
            self._states[some.shape[1]] = states.shape[1]
        if len(groups) == 1:
            return x, spread(groups[0][1], kept, x.shape[:2])
        longest = max(states.shape[1] for _, states in groups)
        whole = groups[0][1].new_zeros((len(windows), longest, groups[0][1].shape[2]))
        for places, states in groups:
            whole[places, : states.shape[1]] = states
        return x, spread(whole, kept, x.shape[:2])

    def join(self, upper: Callable[[Parts], Tensor], parts: Parts) -> Tensor:
        """Return the features of clips, joined of those of their windows as in extraction."""
        x, *states = parts
        windows, kept = take_pieces(x, is_value)
        given = [state.flatten(0, 1)[kept] for state in states]
        with self.arithmetic.autocast():
            groups = []
            for places, some in self._grouped(windows):
                own = [state[places, : self._states[some.shape[1]]] for state in given]
                groups.append((places, upper((some, *own)).float()))
        rows = groups[0][1]
        if len(groups) > 1:
            found = torch.cat([places for places, _ in groups if isinstance(places, Tensor)])
            rows = torch.cat([group for _, group in groups])[torch.argsort(found)]
        if self.preprocessing.windows is not None:
            return rows.unflatten(0, x.shape[:2]).flatten(1)
        if x.shape[1] == 1:
            return rows
        if self.preprocessing.join_by == "max":
            there = spread(torch.ones_like(rows[:, :1]), kept, x.shape[:2]) > 0
            return spread(rows, kept, x.shape[:2]).masked_fill(~there, -torch.inf).amax(1)
        counts = is_value(x.flatten(0, 1))[:, 0].unflatten(0, x.shape[:2]).sum(1)
        return spread(rows, kept, x.shape[:2]).sum(1) / counts[:, None].to(rows.dtype)

    def _grouped(self, windows: Tensor) -> list[tuple[Tensor | slice, Tensor]]:
        """Return which windows run together, and these windows."""
        if self.preprocessing.masks:
            return [(slice(None), windows)]
        lengths = is_value(windows).sum(1)
        groups: list[tuple[Tensor | slice, Tensor]] = []
        for length in torch.unique(lengths).tolist():
            places = torch.nonzero(lengths == length)[:, 0]
            groups.append((places, windows[places, :length]))
        return groups
