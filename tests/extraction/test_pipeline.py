"""Chunks of images through worker threads or a device: in order, none lost, none twice, bounded."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import write_photos
from PIL import Image

from featx import load_dataset
from featx.cache import Claims
from featx.extraction import pixel_embedder
from featx.extraction.pipeline import Pipeline
from featx.inputs.image import EncodedImage, FileImage
from featx.inputs.image.budget import DECODING
from featx.inputs.image.resize import resize_window


class Workers:
    """Averages colours; slower for some batches, so that workers overtake one another."""

    name, device, precision, version = "fake", "cpu", "fp32", "1"

    def __init__(self, workers=2, batch_size=3, nap=0.0):
        self.workers, self.batch_size, self.nap = workers, batch_size, nap
        self.sizes, self.inside, self.entered = [], set(), set()

    def enter(self):
        self.entered.add(threading.get_ident())

    def leave(self):
        pass

    def __call__(self, batch):
        self.inside.add(threading.get_ident())
        self.sizes.append(len(batch))
        time.sleep(self.nap * (len(self.sizes) % 3))
        return batch.reshape(len(batch), -1).astype(np.float32) / 255


class Device(Workers):
    """Works by itself: rows come when they are fetched."""

    def __init__(self, batch_size=20, fail_at=None):
        super().__init__(workers=0, batch_size=batch_size)
        self.open, self.most, self.fail_at = 0, 0, fail_at

    def submit(self, parts):
        if self.fail_at is not None and len(self.sizes) >= self.fail_at:
            raise RuntimeError("the device is gone")
        rows = self(np.concatenate(parts))
        self.open += 1
        self.most = max(self.most, self.open)

        def fetch():
            self.open -= 1
            return rows

        return fetch


class Store:
    """Knows some rows; nobody else is at work."""

    def __init__(self, known=frozenset()):
        self.known, self.claims = known, Claims(Path("/nowhere"))
        self.asked = 0

    def held(self, digests):
        self.asked += 1
        return self.known.intersection(digests)

    def refresh(self):
        pass


def pipeline_of(images, *engines, threads=2, known=frozenset()):
    stores = [Store(known) for _ in engines]
    return Pipeline(images, pixel_embedder(4).preparation, engines, stores, threads)


def rows_of(chunks, network=0):
    return [rows for chunk in chunks if (rows := chunk.rows_of(network)[1]) is not None]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return load_dataset(write_photos(tmp_path_factory.mktemp("p"), 40)).images


def expected(images, embedder):
    return np.stack([embedder.preparation(i.read().image()).reshape(-1) / 255 for i in images])


@pytest.mark.parametrize("engine", [Workers(nap=0.002), Workers(1, 64), Workers(4, 1), Device(), Device(7)])
def test_every_image_has_its_row_in_order(images, engine):
    embedder = pixel_embedder(4)
    pipeline = pipeline_of(images, engine, threads=3)
    todo = list(range(0, 120, 2))
    chunks = list(pipeline.run(todo))
    assert [item.position for chunk in chunks for item in chunk.items] == todo
    rows = np.concatenate(rows_of(chunks))
    np.testing.assert_allclose(rows, expected([images[i] for i in todo], embedder), atol=1e-6)
    digests = [digest for chunk in chunks for digest in chunk.digests]
    assert digests == [images[i].read().digest for i in todo]
    assert sum(engine.sizes) == len(todo)
    assert max(engine.sizes) <= engine.batch_size
    assert all({"read", "decode", "preprocess"} <= chunk.seconds.keys() for chunk in chunks)
    engine.sizes.clear()


def test_each_worker_is_a_thread_that_has_entered(images):
    engine = Workers(2, 4, nap=0.002)
    list(pipeline_of(images, engine, threads=9).run(range(100)))
    assert engine.inside <= engine.entered
    assert len(engine.inside) == 2
    assert threading.get_ident() not in engine.inside


def test_chunks_shrink_towards_the_end(images):
    chunks = pipeline_of(images, Workers(2, 2), threads=2).run(range(120))
    sizes = [len(chunk.items) for chunk in chunks]
    assert sum(sizes) == 120
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (8, 2)


def test_the_rows_that_exist_are_looked_up_for_a_whole_chunk(images):
    known = frozenset(images[i].read().digest for i in range(10, 30))
    pipeline = pipeline_of(images, Workers(1, 8), known=known)
    chunks = list(pipeline.run(range(64)))
    assert sum(len(chunk.digests) for chunk in chunks) == 44
    assert pipeline._stores[0].asked <= 2 * len(chunks)  # before and after its rows are claimed


def test_a_device_has_few_batches_at_a_time_and_full_ones(images):
    engine = Device(30)
    list(pipeline_of(images, engine, threads=2).run(range(120)))
    assert engine.most <= 3
    assert engine.sizes[:-1] == [16] * (len(engine.sizes) - 1) or min(engine.sizes[:-1]) > 15


@pytest.mark.parametrize("engine", [Workers(2, 3), Device(8)])
def test_known_images_and_copies_are_not_computed(images, tmp_path, engine):
    known = {images[i].read().digest for i in range(10)}
    copies = [FileImage("copy", images[20].path), EncodedImage("again.png", images[20].read().payload)]
    all_of_them = [*images[:30], *copies]
    chunks = list(pipeline_of(all_of_them, engine, known=known).run(range(32)))
    digests = [digest for chunk in chunks for digest in chunk.digests]
    assert len(digests) == len(set(digests)) == 20
    assert all(item.digest for chunk in chunks for item in chunk.items)
    engine.sizes.clear()


@pytest.mark.parametrize("engine", [Workers(2, 3), Device(8)])
def test_an_unreadable_image_is_named_and_costs_no_other(images, engine):
    mixed = [
        *images[:5],
        EncodedImage("bad.png", b"nothing"),
        FileImage("gone", "/no/such.png"),
        *images[5:9],
    ]
    chunks = list(pipeline_of(mixed, engine, threads=2).run(range(11)))
    errors = {item.error.id: item.position for chunk in chunks for item in chunk.items if item.error}
    assert errors == {"bad.png": 5, "gone": 6}
    assert sum(len(chunk.digests) for chunk in chunks) == 9
    engine.sizes.clear()


def test_the_same_bytes_under_a_name_that_lies_do_not_cost_the_honest_one(images, tmp_path):
    data = images[0].read().payload

    class Strict(EncodedImage):
        """Bytes under a name that is to count."""

        def read(self):
            return replace(super().read(), name=self.id)

    pair = [Strict("a.jpg", data), EncodedImage("a.png", data)]
    (chunk,) = pipeline_of(pair, Workers(1, 4), threads=1).run(range(2))
    assert [item.error is None for item in chunk.items] == [False, True]
    assert chunk.rows_of(0)[1].shape == (1, 48)


@pytest.mark.parametrize("engine", [Workers(3, 2), Device()])
def test_large_pictures_take_turns_and_nothing_waits_for_ever(tmp_path, monkeypatch, engine):
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        Image.new("RGB", (1100, 1000), (i, 30 * i, 7)).save(path, compress_level=1)
    monkeypatch.setattr(DECODING, "_size", 1)  # each alone is more
    most = []
    monkeypatch.setattr(
        "featx.inputs.image.preprocess.resize_window",
        lambda *args: most.append(len(DECODING._holders)) or resize_window(*args),
    )
    large = [FileImage(path.name, path) for path in paths]
    chunks = list(pipeline_of(large, engine, threads=3).run(range(7)))
    np.testing.assert_allclose(np.concatenate(rows_of(chunks)), expected(large, pixel_embedder(4)), atol=1e-6)
    assert max(most) == 1
    assert DECODING.used == 0


def test_want_of_memory_is_an_error_of_the_image_and_the_others_have_rows(images, monkeypatch):
    calls = []

    def without_memory(*args):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return resize_window(*args)

    monkeypatch.setattr("featx.inputs.image.preprocess.resize_window", without_memory)
    (chunk,) = pipeline_of(images, Workers(1, 4), threads=1).run(range(4))
    assert [item.error is None for item in chunk.items] == [True, False, True, True]
    assert "needs more memory than there is" in str(chunk.items[1].error)
    assert chunk.rows_of(0)[1].shape == (3, 48)


def test_what_was_finished_when_the_consumer_stops_is_not_lost(images):
    engine = Workers(2, 2)
    pipeline = pipeline_of(images, engine, threads=2)
    chunks = pipeline.run(range(120))
    first = next(chunks)
    deadline = time.monotonic() + 10
    while sum(engine.sizes) < 40 and time.monotonic() < deadline:
        time.sleep(0.01)
    chunks.close()
    done = sum(engine.sizes)
    assert len(first.digests) + sum(len(chunk.digests) for chunk in pipeline.rest) == done
    time.sleep(0.05)
    assert sum(engine.sizes) == done, "a worker works on"


def test_an_error_of_a_device_keeps_what_it_had_delivered(images):
    engine = Device(16, fail_at=4)
    pipeline = pipeline_of(images, engine, threads=2)
    got = []
    with pytest.raises(RuntimeError, match="the device is gone"):
        got.extend(pipeline.run(range(120)))
    rows = sum(map(len, rows_of((*got, *pipeline.rest))))
    assert rows <= 64
