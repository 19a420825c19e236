"""A kind of input that is no image goes through extraction: series of numbers of different lengths."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from featx import extraction
from featx.cache import Cache, Space
from featx.cache.identity import digest_array
from featx.errors import SourceError
from featx.extraction import Embedder, embed, embed_together
from featx.inputs import Content, Preparation, Source

LENGTHS = [3, 1, 40, 7, 2, 19, 5, 11, 1, 33, 4, 8]


@dataclass(frozen=True)
class Numbers:
    """What a series holds."""

    digest: bytes
    values: np.ndarray

    @property
    def nbytes(self):
        return self.values.nbytes


@dataclass(frozen=True)
class Series:
    """A series of numbers in memory."""

    id: str
    values: np.ndarray = field(repr=False)
    kind = "series"
    is_file = False

    def read(self):
        if not len(self.values):
            raise SourceError(self.id, "an empty series")
        return Numbers(digest_array(self.values), self.values)

    def stat_key(self):
        return None


@dataclass(frozen=True)
class Clipped:
    """Clips each series; a batch has the lengths in front, and zeros behind the shorter series."""

    most: float = 2.0
    kind = "series"
    stages = ("clip",)
    reference_version = 1
    in_pieces = False
    masks = True
    padding = 0
    shape = (None,)
    dtype = np.dtype(np.float32)
    nbytes = 4 * 64

    @property
    def identity(self):
        return self.to_dict()

    def to_dict(self):
        return {"most": self.most}

    def prepare(self, content, out=None, note=None):
        assert out is None, "there is no place of one size for series of different lengths"
        if not np.isfinite(content.values).all():
            raise SourceError("?", "not finite")
        prepared = np.clip(content.values, -self.most, self.most).astype(np.float32)
        if note is not None:
            note("clip")
        return prepared

    def collate(self, prepared):
        batch = np.zeros((len(prepared), 1 + max(map(len, prepared))), np.float32)
        for row, series in zip(batch, prepared, strict=True):
            row[0], row[1 : 1 + len(series)] = len(series), series
        return batch

    def join(self, rows, prepared):
        return rows[0]

    def joined_dim(self, dim):
        return dim

    def reference_batch(self, count):
        raise NotImplementedError

    def share_memory(self, processes, alone):
        raise NotImplementedError


class SumAndLength:
    """Sum and length of each series, whatever is behind its end."""

    name, device, precision, version = "sums", "cpu", "fp32", "1"

    def __init__(self, workers, batch_size):
        self.workers, self.batch_size, self.widths = workers, batch_size, []

    def __call__(self, batch):
        self.widths.append(batch.shape[1])
        lengths = batch[:, 0].astype(int)
        sums = np.cumsum(batch[:, 1:], axis=1)[np.arange(len(batch)), lengths - 1]
        return np.stack([sums, lengths], axis=1).astype(np.float32)

    def submit(self, parts):
        assert len(parts) == 1
        rows = self(parts[0])
        return lambda: rows

    def inputs_of_length(self, length):
        return self.batch_size

    def enter(self):
        pass

    def leave(self):
        pass


def embedder_of(engine, preparation=None):
    preparation = preparation or Clipped()
    space = Space({"backbone": {"architecture": "sums"}, "preprocessing": preparation.identity})
    return Embedder((space,), (2,), preparation, lambda inputs, threads: engine)


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    return [Series(f"{i}", rng.normal(size=n)) for i, n in enumerate(LENGTHS)]


def expected(series, most=2.0):
    rows = [(np.cumsum(np.clip(s.values, -most, most).astype(np.float32))[-1], len(s.values)) for s in series]
    return np.array(rows, np.float32)


def test_it_implements_the_protocols(series):
    assert isinstance(series[0], Source)
    assert isinstance(series[0].read(), Content)
    assert isinstance(Clipped(), Preparation)


@pytest.mark.parametrize("workers", [1, 2, 0])  # threads, and a device
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_row_does_not_depend_on_its_company(series, tmp_path, workers, batch_size):
    engine = SumAndLength(workers, batch_size)
    rows = embed(series, embedder_of(engine), cache=tmp_path / "c")
    np.testing.assert_array_equal(rows.embeddings, expected(series))
    assert max(engine.widths) == 1 + max(LENGTHS)
    assert rows.profile.stages.keys() == {"read", "clip", "forward", "commit"}
    assert rows.profile.stages["clip"] > 0
    backwards = embed(series[::-1], embedder_of(SumAndLength(workers, 3)), cache=tmp_path / "d")
    np.testing.assert_array_equal(backwards.embeddings[::-1], rows.embeddings)


def test_rows_come_from_the_cache_and_another_preparation_is_another_space(series, tmp_path):
    cache, engine = Cache(tmp_path / "c"), SumAndLength(2, 4)
    assert embed(series[:8], embedder_of(engine), cache=cache).computed == 8
    assert embed(series, embedder_of(engine), cache=cache).computed == 4
    both = [embedder_of(engine), embedder_of(engine, Clipped(0.5))]
    old, new = embed_together(series, both, cache=cache)
    assert (old.computed, new.computed) == (0, 12)
    np.testing.assert_array_equal(new.embeddings, expected(series, 0.5))


@pytest.mark.parametrize("workers", [2, 0])
def test_copies_are_computed_once_and_a_bad_one_is_a_failure(series, tmp_path, workers):
    bad = [Series("empty", np.empty(0)), Series("nan", np.array([1.0, np.nan]))]
    mixed = [*series[:4], *bad, Series("copy", series[1].values), series[5]]
    rows = embed(mixed, embedder_of(SumAndLength(workers, 3)), cache=tmp_path / "c", on_error="skip")
    assert rows.computed == 5
    assert [failure.reason for failure in rows.failures] == ["an empty series", "not finite"]
    np.testing.assert_array_equal(rows.embeddings, expected([*series[:4], series[1], series[5]]))
    with pytest.raises(SourceError, match="an empty series"):
        embed(mixed, embedder_of(SumAndLength(workers, 3)), cache=tmp_path / "d")


def test_extraction_itself_knows_no_images():
    for path in sorted(Path(extraction.__file__).parent.glob("*.py")):
        if path.name not in ("matching.py", "pixel_reference.py"):  # of a network of images, and of pixels
            assert "featx.inputs.image" not in path.read_text(encoding="utf-8"), path.name
