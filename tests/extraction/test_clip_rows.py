"""Clips go through extraction: equal rows in any batch, order, part and number of workers; notes on them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import featx
from featx.cache import Claims
from featx.data import Dataset
from featx.engines.interface import CpuEngine
from featx.extraction import embed, network_embedder, notes_on_inputs, pipeline, profile_table
from featx.extraction.pipeline import Pipeline
from featx.inputs.audio import PADDING, AudioPreparation, SampledClip, Waveform
from featx.options import Run

RATE = 8000
LENGTHS = (0.3, 2.6, 0.1, 0.5, 1.0, 0.3, 0.02, 1.7, 0.5, 4.0, 0.75, 0.33)

pytest.importorskip("kaldi_native_fbank")


def clips(lengths=LENGTHS, rate=RATE):
    rng = np.random.default_rng(0)
    sounds = [rng.uniform(-1, 1, round(seconds * rate)).astype(np.float32) for seconds in lengths]
    return [SampledClip(f"clip {i}", sound, rate) for i, sound in enumerate(sounds)]


def backbone(**how):
    return featx.load_backbone("kaldi:fbank", **({"window": 0.5} | how))


@pytest.mark.parametrize("join", ["mean", "max", "concat:3"])
def test_rows_are_equal_for_any_batch_order_and_number_of_workers(tmp_path, join):
    loaded, sources = backbone(join=join), clips()
    rows = []
    for number, how in enumerate(
        [
            {"engine": "eager", "batch_size": 1},
            {"engine": "eager"},
            {"engine": "torch", "batch_size": 7},
            {"engine": "torch"},
            {"engine": "openvino"},
        ]
    ):
        for n_jobs in (1, 2):
            embedder = network_embedder(loaded, Run(precision="fp32", **how))
            found = embed(sources[::-1], embedder, cache=tmp_path / f"{number}-{n_jobs}", n_jobs=n_jobs)
            rows.append(found.embeddings[::-1])
    assert rows[0].shape == (len(sources), 160 * (3 if join == "concat:3" else 1))
    for other in rows[1:]:
        np.testing.assert_allclose(other, rows[0], atol=1e-4)
    alone = [
        embed([one], network_embedder(loaded, Run(engine="eager", precision="fp32")), cache=tmp_path / one.id)
        for one in sources
    ]
    np.testing.assert_allclose(rows[0], np.concatenate([one.embeddings for one in alone]), atol=1e-5)


class Sums(CpuEngine):
    """Sum and number of the samples of each window; `workers` is 0 for a device."""

    name, device, precision, version = "sums", "cpu", "fp32", "1"

    def __init__(self, workers):
        self.workers, self.batch_size, self.batch_positions, self.shapes = workers, 4, 400, []

    def __call__(self, batch):
        self.shapes.append(batch.shape)
        mask = batch > PADDING
        return np.stack([(batch * mask).sum(1), mask.sum(1)], axis=1).astype(np.float32)


PREPARATION = AudioPreparation(Waveform(rate=100, shortest=1), window=1.0)


def pipeline_of(monkeypatch, sources, engine, part_bytes, preparation=PREPARATION):
    """A pipeline whose parts have so many bytes, and whose device has room for one of them."""
    monkeypatch.setattr(pipeline, "PART_BYTES", part_bytes)
    monkeypatch.setattr(pipeline, "WAITING_BYTES", 0)
    store = SimpleNamespace(claims=Claims(Path("/nowhere")), held=lambda digests: set(), refresh=lambda: None)
    return Pipeline(sources, preparation, [engine], [store], 2)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("part_bytes", [1, 1000, 10**9])
def test_a_chunk_is_computed_in_parts_of_some_bytes(monkeypatch, workers, part_bytes):
    sources = clips(tuple(np.random.default_rng(1).uniform(0.1, 9, 60)), rate=100)
    engine = Sums(workers)
    parts = list(pipeline_of(monkeypatch, sources, engine, part_bytes).run(range(60)))
    assert [item.position for part in parts for item in part.items] == list(range(60))
    rows = np.concatenate([part.rows_of(0)[1] for part in parts])
    expected = [
        np.mean([(w.sum(), len(w)) for w in PREPARATION.transform(s.samples)], axis=0) for s in sources
    ]
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-4)
    assert sum(part.duration for part in parts) == pytest.approx(sum(len(s.samples) for s in sources) / 100)
    if part_bytes == 1:
        assert [len(part.items) for part in parts] == [1] * 60
    assert max(n * length for n, length in engine.shapes) <= 400


class Fails(AudioPreparation):
    """Fails on clips of 77 samples."""

    def transform(self, samples):
        if len(samples) == 77:
            raise RuntimeError("a fault of this clip")
        return super().transform(samples)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_parts_before_a_failure_are_kept(monkeypatch, workers):
    sources = clips((1.0,) * 35 + (0.77,) + (1.0,) * 20, rate=100)
    work = pipeline_of(
        monkeypatch, sources, Sums(workers), 1000, preparation=Fails(Waveform(100, shortest=1))
    )
    found = []

    def take():
        for part in work.run(range(len(sources))):
            found.append(part)

    with pytest.raises(RuntimeError, match="a fault of this clip"):
        take()
    computed = sorted(item.position for part in [*found, *work.rest] if part.rows for item in part.items)
    sure = 33 if workers else 16  # a device computes several parts at once
    assert computed[:sure] == list(range(sure))


def test_silent_clips_and_the_time_of_audio_are_told(tmp_path, capsys):
    sources = clips()
    for number in (1, 4, 5, 8, 10):
        # A copy of another silent clip would have its row.
        sources[number] = SampledClip(f"quiet\n{number}", np.zeros(800 * number, np.float32), RATE)
    dataset = Dataset("calls", sources)
    features = featx.extract(
        dataset, backbone=backbone(), cache=tmp_path, engine="torch", precision="fp32", verbose=True
    )
    said = r"5 clips are silent: quiet\n1, quiet\n4, quiet\n5 and 2 more"
    assert f"note: {said}" in capsys.readouterr().err
    profile = features.run["profile"]
    seconds = sum(len(source.samples) / RATE for source in sources)
    assert profile["duration"] == pytest.approx(seconds)
    assert (profile["silent"], len(profile["silent_ids"])) == (5, 3)
    table = profile_table(profile)
    assert "12 clips in" in table
    assert f"{seconds / profile['wall']:,.0f} s of audio per second" in table
    assert f"batches of {profile['batch_positions']:,} frames" in table
    assert "ms/clip" in table
    again = featx.extract(dataset, backbone=backbone(), cache=tmp_path, engine="torch", precision="fp32")
    assert "silent" not in again.run["profile"], "rows from the cache are not counted"


def test_the_note_names_all_of_a_few_silent_clips():
    profile = {"kind": "clip", "images": 9}
    assert notes_on_inputs(profile, {"kind": "clip"}) == []
    one = profile | {"silent": 1, "silent_ids": ["a.wav"]}
    assert notes_on_inputs(one, {"kind": "clip"}) == ["1 clip is silent: a.wav"]
    three = profile | {"silent": 3, "silent_ids": ["a.wav", "b.wav", "c.wav"]}
    assert notes_on_inputs(three, {"kind": "clip"}) == ["3 clips are silent: a.wav, b.wav, c.wav"]


def test_a_clip_of_rounding_noise_or_of_one_value_is_silent():
    steps = np.resize(np.array([-2, 0, 2, 1], np.float32) / 2**15, 4000)
    loud = np.resize(np.array([-40, 40], np.float32) / 2**15, 4000)
    clips = {"noise": steps, "one value": np.full(4000, 0.25, np.float32), "soft": loud}
    found = {}
    for name, samples in clips.items():
        noted: list = []
        backbone().preparation.prepare(
            SampledClip(name, samples, RATE).read(), note=lambda *n, to=noted: to.append(n[0])
        )
        found[name] = "silent" in noted
    assert found == {"noise": True, "one value": True, "soft": False}
