"""Where clips come from: files, bytes, samples in memory, and functions; digests, errors, pickling."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from archives import write_tar
from sound_files import encode, sound

from featx.cache.identity import digest_bytes
from featx.errors import AudioError, DatasetError
from featx.inputs import Content, Source
from featx.inputs.audio import (
    SOURCES,
    EncodedClip,
    FileClip,
    LazyClip,
    SampledClip,
    Segment,
    StoredClip,
    as_source,
    decode,
    is_audio_file,
)
from featx.places import LocalRanges
from featx.places.archives import index_archive

WAV = encode(sound())


def load(samples=None, rate=16000):
    return (sound() if samples is None else samples), rate


@pytest.fixture
def sources(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(WAV)
    archive = LocalRanges(write_tar(tmp_path / "a.tar", {"a.wav": WAV}))
    return [
        FileClip("a", path),
        StoredClip("a", index_archive(archive)[0][1]),
        EncodedClip("a", WAV),
        SampledClip("a", sound(), 16000),
        LazyClip("a", load),
    ]


def test_every_source_keeps_the_protocols(sources):
    assert {type(source) for source in sources} == set(SOURCES)
    for source in sources:
        assert isinstance(source, Source)
        assert source.kind == "clip"
        content = source.read()
        assert isinstance(content, Content)
        assert len(content.digest) == 32
        assert content.nbytes > 1000
        samples, rate = decode(content)
        assert rate == 16000
        np.testing.assert_allclose(samples, sound(), atol=1e-4)
    assert [source.is_file for source in sources] == [True, True, False, False, False]


def test_every_source_can_be_pickled_and_segmented(sources):
    for source in sources:
        again = pickle.loads(pickle.dumps(source))
        assert again.read().digest == source.read().digest
        part = type(source)(*(getattr(source, name) for name in source.__slots__[:-1]), Segment(0.25, 0.5))
        assert part.read().digest != source.read().digest
        assert np.array_equal(decode(part.read())[0], decode(source.read())[0][4000:8000])
        assert pickle.loads(pickle.dumps(part.read())).digest == part.read().digest


def test_the_digest_is_that_of_the_bytes_wherever_they_are(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(WAV)
    assert FileClip("a", path).read().digest == digest_bytes(WAV)
    assert EncodedClip("b", WAV).read().digest == digest_bytes(WAV)
    assert LazyClip("c", lambda: WAV).read().digest == digest_bytes(WAV)
    assert LazyClip("c", lambda: path).read().digest == digest_bytes(WAV)


def test_samples_have_the_digest_of_their_values_and_rate():
    digest = SampledClip("a", sound(), 16000).read().digest
    assert SampledClip("b", sound().astype(np.float64), 16000).read().digest == digest
    assert SampledClip("b", np.repeat(sound(), 2)[::2], 16000).read().digest == digest
    assert SampledClip("b", sound(), 8000).read().digest != digest
    assert SampledClip("b", -sound(), 16000).read().digest != digest
    assert SampledClip("b", np.stack([sound()] * 2, 1), 16000).read().digest != digest


@pytest.mark.parametrize("coding", ["PCM_U8", "PCM_16", "PCM_32"])
def test_whole_numbers_are_scaled_as_in_a_file(coding):
    width = {"PCM_U8": "u1", "PCM_16": "<i2", "PCM_32": "<i4"}[coding]
    data = encode(sound(), 16000, "WAV", coding)
    raw = np.frombuffer(data[-len(sound()) * np.dtype(width).itemsize :], width)
    samples, _ = decode(SampledClip("a", raw, 16000).read())
    assert np.array_equal(samples, soundfile.read(io.BytesIO(data), dtype="float32")[0])


@pytest.mark.parametrize(
    ("samples", "rate", "line"),
    [
        (np.zeros(0), 16000, "expected samples"),
        (np.zeros((2, 3, 4)), 16000, "expected samples"),
        (np.zeros(3, complex), 16000, "expected samples"),
        (np.array(["a"]), 16000, "expected samples"),
        ([[1], [1, 2]], 16000, "expected samples"),
        (None, 16000, "expected samples"),
        (np.zeros((2, 1000)), 16000, "fewer frames than channels; transpose them"),
        (np.zeros(9), 0, "rate must be whole hertz"),
        (np.zeros(9), 16000.5, "rate must be whole hertz"),
        (np.zeros(9), float("nan"), "rate must be whole hertz"),
        (np.zeros(9), True, "rate must be whole hertz"),
        (np.zeros(9), "16000", "rate must be whole hertz"),
        (np.zeros(9), None, "rate must be whole hertz"),
    ],
)
def test_samples_that_are_none_are_named(samples, rate, line):
    with pytest.raises(AudioError, match=f"^a: .*{line}"):
        SampledClip("a", samples, rate).read()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_samples_without_a_number_are_named(value):
    samples = np.zeros(100)
    samples[7] = value
    content = SampledClip("a", samples, 16000).read()
    with pytest.raises(AudioError, match="a: holds samples that are no numbers"):
        decode(content)


def test_a_function_that_gives_no_clip_is_named():
    for load, line in [
        (lambda: 3, "expected the path of an audio file"),
        (lambda: open("/does/not/exist"), "No such file"),  # noqa: SIM115
        (lambda: (np.zeros(0), 16000), "expected samples"),
    ]:
        with pytest.raises(AudioError, match=rf"^a: .*{line}"):
            LazyClip("a", load).read()


def test_a_lazy_clip_is_loaded_at_each_reading():
    calls = []

    def load():
        calls.append(1)
        return sound(), 16000

    source = LazyClip("a", load)
    assert not calls
    assert source.stat_key() is None
    assert source.read().digest == source.read().digest
    assert len(calls) == 2


def test_what_becomes_a_source(tmp_path):
    assert isinstance(as_source("a.wav", "a"), FileClip)
    assert isinstance(as_source(Path("a.wav"), "a"), FileClip)
    assert isinstance(as_source(bytearray(WAV), "a"), EncodedClip)
    assert isinstance(as_source((sound(), 16000), "a"), SampledClip)
    assert as_source(EncodedClip("a", WAV), "b").id == "b"
    with pytest.raises(DatasetError, match="a: expected the path of an audio file"):
        as_source(sound(), "a")


def test_the_stat_key_is_absolute_path_size_and_times(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(WAV)
    monkeypatch.chdir(tmp_path)
    seen = os.stat(path)
    assert FileClip("a", "a.wav").stat_key() == (str(path), len(WAV), seen.st_mtime_ns, seen.st_ctime_ns)
    assert FileClip("a", "gone.wav").stat_key() is None


@pytest.mark.parametrize("name", ["a.WAV", "b.mp3", "c.flac", "d.Opus", "e.oga", "f.aif", "g.caf", "h.sph"])
def test_audio_files_have_their_suffixes(name):
    assert is_audio_file(name)
    assert not is_audio_file(f"{name}.txt")
