"""Batches of inputs of different lengths: what they hold, how large they are, and their rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from featx.engines.interface import CpuEngine
from featx.extraction.chunks import Chunk
from featx.extraction.forward import DeviceFeed, compute_rows
from featx.extraction.pieces import Pieces
from featx.extraction.pipeline import Pipeline
from featx.inputs.text import PADDING, TextPreparation


class Letters:
    """One token for each letter."""

    sha256 = "0" * 64

    def encode(self, text, max_length):
        tokens = [ord(letter) for letter in text]
        return [tokens[at : at + max_length] for at in range(0, len(tokens), max_length)]


class Sums(CpuEngine):
    """Sum and number of the tokens of each input; it notes the batches."""

    name, device, precision, version, workers = "sums", "cpu", "fp32", "1", 1

    def __init__(self, batch_size=4, positions=None):
        self.batch_size, self.batch_positions, self.shapes = batch_size, positions, []

    def __call__(self, batch):
        self.shapes.append(batch.shape)
        mask = batch != PADDING
        return np.stack([(batch * mask).sum(1), mask.sum(1)], axis=1).astype(np.float32)


PREPARATION = TextPreparation(Letters(), max_length=10, long="mean")
TEXTS = ["a", "of some length", "abc" * 9, "b", "four", "three", "x" * 10, "y" * 11, "two words"]


def prepared(texts):
    return [PREPARATION.prepare(SimpleNamespace(text=text, id=text)) for text in texts]


def slow_rows(texts):
    """Each piece of each text alone, averaged by tokens."""
    rows = []
    for text in texts:
        parts = [text[at : at + 10] for at in range(0, len(text), 10)]
        sums = np.array([[sum(map(ord, part)), len(part)] for part in parts], np.float64)
        rows.append((sums * sums[:, 1:]).sum(0) / sums[:, 1].sum())
    return np.array(rows, np.float32)


@pytest.mark.parametrize("engine", [Sums(1), Sums(4), Sums(99), Sums(4, 1), Sums(4, 20), Sums(4, 999)])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[::-1], TEXTS[:1], ["same", "size"]])
def test_rows_do_not_depend_on_batches(engine, texts):
    pieces = Pieces(prepared(texts), PREPARATION, engine)
    np.testing.assert_allclose(pieces.join([engine(b) for b in pieces.batches]), slow_rows(texts), rtol=1e-6)


def test_a_batch_is_as_large_as_the_engine_says():
    def sizes(**options):
        return [batch.shape for batch in Pieces(prepared(TEXTS), PREPARATION, Sums(**options)).batches]

    # 13 pieces of 10, 10, 10, 10, 10, 9, 7, 5, 4, 4, 1, 1 and 1 tokens
    assert [n for n, _ in sizes(batch_size=5)] == [5, 5, 3]
    in_positions = sizes(positions=24)
    assert in_positions == [(2, 10), (2, 10), (2, 10), (3, 7), (4, 4)]
    assert sizes(positions=1) == [(1, n) for n in (10, 10, 10, 10, 10, 9, 7, 5, 4, 4, 1, 1, 1)]


def chunk_of(texts):
    chunk = Chunk([], [text.encode() for text in texts], prepared(texts))
    chunk.wanted = [list(range(len(texts)))]
    return chunk


def test_a_device_gets_several_batches_of_about_one_length():
    engine, rng = Sums(4, 40), np.random.default_rng(0)
    texts = ["z" * n for n in rng.integers(1, 11, 64)]
    chunks = [chunk_of(texts[at : at + 4]) for at in range(0, 64, 4)]
    found = list(DeviceFeed([engine], PREPARATION).run(chunk for chunk in chunks))
    assert found == chunks
    np.testing.assert_array_equal(np.concatenate([c.rows[0] for c in chunks]), slow_rows(texts))
    # 32 texts are sorted at a time, so little of a batch is padding.
    assert sum(n * length for n, length in engine.shapes) < 1.2 * sum(map(len, texts))
    alone = Sums(4, 40)
    for at in range(0, 64, 4):
        compute_rows(chunk_of(texts[at : at + 4]), [alone], PREPARATION)
    assert len(engine.shapes) < len(alone.shapes)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 1000, 10_000])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_chunks_are_many_batches_and_become_small_at_the_end(count, threads):
    engine = Sums(16, 1024)
    engine.workers = threads
    sizes = Pipeline([], PREPARATION, [engine], [], threads)._chunk_sizes(count)
    assert sum(sizes) == count
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=0) <= 64 * 16
    if count >= 1000:
        assert sizes[0] > 2 * 16
        assert len(sizes) >= 2 * threads
        assert sizes[-1] <= 64, "at the end one worker computes alone"
