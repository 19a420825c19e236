"""Batches of windows of clips, and rows of windows that become the row of a clip."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from featx.engines.interface import CpuEngine
from featx.extraction.pieces import Pieces
from featx.inputs.audio import PADDING, AudioPreparation
from featx.inputs.audio.front_ends import Waveform


class Sums(CpuEngine):
    """Sum and number of the samples of each window, and its largest one as a second layer."""

    name, device, precision, version, workers = "sums", "cpu", "fp32", "1", 1
    backbone = SimpleNamespace(members=(SimpleNamespace(dim=2), SimpleNamespace(dim=1)))

    def __init__(self, batch_size=4, positions=None):
        self.batch_size, self.batch_positions, self.shapes = batch_size, positions, []

    def __call__(self, batch):
        self.shapes.append(batch.shape)
        mask = batch > PADDING
        return np.stack([(batch * mask).sum(1), mask.sum(1), batch.max(1)], axis=1).astype(np.float32)


LENGTHS = (100, 30, 250, 30, 99, 100, 70, 30, 205)


def clips():
    rng = np.random.default_rng(0)
    return [rng.integers(-9, 9, length).astype(np.float32) for length in LENGTHS]


def preparation(**how):
    return AudioPreparation(Waveform(rate=100, shortest=1), window=1.0, **how)


def rows_of(clips, chosen, engine):
    pieces = Pieces([chosen.transform(clip) for clip in clips], chosen, engine)
    return pieces.join([engine(batch) for batch in pieces.batches])


def slow_row(clip, join):
    """Each window of a clip alone; each layer joined alone."""
    if join.startswith("concat"):
        count = int(join[-1])
        last = max(0, len(clip) - 100)
        starts = [round(last * i / max(1, count - 1)) for i in range(count)]
    else:
        starts = [at for at in range(0, len(clip), 100) if at + 100 <= len(clip)] or [0]
        if len(clip) > 100 and len(clip) % 100:
            starts.append(len(clip) - 100)
    parts = [clip[at : at + 100] for at in starts]
    layers = [[(part.sum(), len(part)) for part in parts], [(part.max(),) for part in parts]]
    if join.startswith("concat"):
        return np.concatenate([np.concatenate(layer) for layer in layers])
    how = np.max if join == "max" else np.mean
    return np.concatenate([how(np.array(layer, np.float64), axis=0) for layer in layers])


@pytest.mark.parametrize("engine", [Sums(1), Sums(4), Sums(99), Sums(4, 1), Sums(4, 200), Sums(4, 9999)])
@pytest.mark.parametrize("join", ["mean", "max", "concat:2", "concat:3"])
@pytest.mark.parametrize("masks", [True, False])
def test_rows_do_not_depend_on_batches(engine, join, masks):
    chosen = preparation(join_by=join, masks=masks)
    expected = [slow_row(clip, join) for clip in clips()]
    np.testing.assert_allclose(rows_of(clips(), chosen, engine), expected, rtol=1e-6)
    backwards = rows_of(clips()[::-1], chosen, engine)
    np.testing.assert_allclose(backwards, expected[::-1], rtol=1e-6)


def test_without_a_mask_no_batch_is_padded():
    engine = Sums(4)
    rows_of(clips(), preparation(masks=False), engine)
    # 100 x 8, 99, 70, 30 x 3
    assert engine.shapes == [(4, 100), (4, 100), (1, 99), (1, 70), (3, 30)]
    masking = Sums(4)
    rows_of(clips(), preparation(), masking)
    assert masking.shapes == [(4, 100), (4, 100), (4, 99), (1, 30)]
