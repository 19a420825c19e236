"""Rows of sounds by the module of an audio backbone: each clip alone, and all in one batch."""

from __future__ import annotations

import torch
from clips import RATE

from featx.inputs.audio import SampledClip


def prepared(backbone, sound):
    """Return the windows of a sound at `RATE`."""
    return backbone.preparation.prepare(SampledClip("a", sound, RATE).read())


@torch.inference_mode()
def rows_alone(backbone, some):
    """Return the rows of all windows of the sounds, one sound at a time."""
    return torch.cat([backbone.module(torch.tensor(prepared(backbone, sound))) for sound in some])


@torch.inference_mode()
def rows_together(backbone, some):
    """Return the row of the first window of each sound, in one batch."""
    windows = [prepared(backbone, sound)[0] for sound in some]
    return backbone.module(torch.tensor(backbone.preparation.collate(windows)))
