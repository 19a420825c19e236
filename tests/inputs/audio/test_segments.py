"""Segments of a recording: the samples of the same audio cut beforehand, and the recording is read once."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from sound_files import FORMATS, encode, sound

from featx.cache.identity import digest_bytes
from featx.cache.stat_cache import StatCache
from featx.errors import AudioError
from featx.inputs.audio import (
    AudioPreparation,
    EncodedClip,
    FileClip,
    SampledClip,
    Segment,
    Waveform,
    decode,
    recordings,
)
from featx.inputs.audio.recordings import Recording

SEGMENTS = [Segment(0.0, 0.5), Segment(0.3, 0.7), Segment(1.23456, 2.5), Segment(2.9), Segment(0.0, 3.0)]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """Begin without digests and readers, and let a file that was just written count as settled."""
    recordings.close_readers()
    recordings._digests.clear()
    monkeypatch.setattr(recordings, "_SETTLED_NS", -(10**12))
    yield
    recordings.close_readers()


@pytest.fixture
def hashed(monkeypatch):
    """The files that are hashed."""
    seen = []
    original = recordings.digest_file

    def digest_file(file):
        seen.append(file.name)
        return original(file)

    monkeypatch.setattr(recordings, "digest_file", digest_file)
    return seen


def samples_of(source):
    return decode(source.read())[0]


@pytest.mark.parametrize(("form", "coding"), FORMATS)
def test_a_segment_has_the_samples_of_the_same_audio_cut_by_soundfile(form, coding, tmp_path):
    data = encode(sound(3.0), 16000, form, coding)
    path = tmp_path / "recording"
    path.write_bytes(data)
    whole, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    for segment in [*SEGMENTS, *SEGMENTS[::-1]]:
        stop = None if segment.stop is None else round(segment.stop * rate)
        expected = whole[round(segment.start * rate) : stop]
        for source in (FileClip("a", path, segment), EncodedClip("a", data, segment)):
            content = source.read()
            assert isinstance(content.payload, Recording) == (source.is_file)
            assert np.array_equal(decode(content)[0], expected), segment


@pytest.mark.parametrize(("form", "coding"), [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "FLOAT")])
@pytest.mark.parametrize("channels", [None, 3])
def test_a_segment_is_prepared_as_a_file_that_was_cut_beforehand(form, coding, channels, tmp_path):
    """Cut before averaging and resampling: 22,050 Hz become 16,000."""
    path, cut = tmp_path / "recording", tmp_path / "cut"
    path.write_bytes(encode(sound(4.0, 22050, channels), 22050, form, coding))
    part, rate = soundfile.read(path, start=round(1.1 * 22050), stop=round(3.3 * 22050), dtype="float64")
    cut.write_bytes(encode(part, rate, form, coding))
    preparation = AudioPreparation(Waveform(), window=0.5, hop=0.3)
    of_segment = preparation.prepare(FileClip("a", path, Segment(1.1, 3.3)).read())
    of_cut = preparation.prepare(FileClip("b", cut).read())
    assert np.array_equal(of_segment, of_cut)
    samples, rate = soundfile.read(path, dtype="float32")
    of_array = preparation.prepare(SampledClip("c", samples, rate, Segment(1.1, 3.3)).read())
    assert np.array_equal(of_array, of_cut)


@pytest.mark.parametrize(
    ("form", "coding"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
)
def test_many_segments_hash_and_decode_the_recording_once(form, coding, tmp_path, hashed, monkeypatch):
    path = tmp_path / "recording"
    path.write_bytes(encode(sound(10.0), 16000, form, coding))
    decoded = []
    block = recordings.Reader._block

    def count(reader, frames, id):
        part = block(reader, frames, id)
        decoded.append(len(part))
        return part

    monkeypatch.setattr(recordings.Reader, "_block", count)
    sources = [FileClip(f"{i}", path, Segment(i / 20, i / 20 + 0.05)) for i in range(200)]
    contents = [source.read() for source in sources]
    assert all(content.nbytes == 0 for content in contents)
    parts = [decode(content)[0] for content in contents]
    assert len(hashed) == 1
    # A seek needs no decoding, apart from FLAC's last frame; otherwise the decoder goes on from where it is.
    assert sum(decoded) <= 16000 * 10 + 200
    assert np.array_equal(
        np.concatenate(parts), soundfile.read(path, dtype="float32")[0][: sum(map(len, parts))]
    )
    assert len({content.digest for content in contents}) == 200


def test_threads_share_digests_and_readers(tmp_path, hashed):
    path = tmp_path / "recording"
    path.write_bytes(encode(sound(6.0), 16000, "MP3", "MPEG_LAYER_III"))
    whole = soundfile.read(path, dtype="float32")[0]
    order = np.random.default_rng(0).permutation(120)
    with ThreadPoolExecutor(4) as threads:
        sources = [FileClip(f"{i}", path, Segment(i / 20, (i + 1) / 20)) for i in order.tolist()]
        parts = list(threads.map(samples_of, sources))
    for i, part in zip(order, parts, strict=True):
        assert np.array_equal(part, whole[i * 800 : (i + 1) * 800])
    assert len(hashed) == 1
    assert len(recordings._readers) <= 8


def test_few_readers_stay_open(tmp_path):
    data = encode(sound(1.0), 16000, "OGG", "VORBIS")
    for number in range(20):
        path = tmp_path / f"{number}.ogg"
        path.write_bytes(data)
        samples_of(FileClip("a", path, Segment(0.1, 0.2)))
    assert len(recordings._readers) == 8
    path.unlink()


def test_the_digest_is_that_of_the_bytes_with_the_times(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode(sound()))
    digests = {FileClip("a", path, segment).read().digest for segment in SEGMENTS}
    assert len(digests) == len(SEGMENTS)
    assert digests == {EncodedClip("a", path.read_bytes(), segment).read().digest for segment in SEGMENTS}
    copy = shutil.copy(path, tmp_path / "b.wav")
    assert FileClip("b", copy, SEGMENTS[1]).read().digest in digests
    assert FileClip("a", path).read().digest == digest_bytes(path.read_bytes())


def test_a_recording_that_changed_a_moment_ago_is_read_into_memory(tmp_path, hashed, monkeypatch):
    """It may change again without a trace in its times."""
    monkeypatch.setattr(recordings, "_SETTLED_NS", 2 * 10**9)
    path = tmp_path / "a.wav"
    path.write_bytes(encode(sound()))
    source = FileClip("a", path, Segment(0.2, 0.4))
    content = source.read()
    assert isinstance(content.payload, bytes)
    assert not hashed
    monkeypatch.setattr(recordings, "_SETTLED_NS", -(10**12))
    assert source.read().digest == content.digest
    assert np.array_equal(decode(source.read())[0], decode(content)[0])


@pytest.mark.parametrize(("form", "coding"), [("WAV", "PCM_16"), ("OGG", "VORBIS")])
def test_a_recording_that_changes_between_reading_and_decoding_is_named(form, coding, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(encode(sound(1.0), 16000, form, coding))
    source = FileClip("a", path, Segment(0.2, 0.4))
    before = source.read()
    decode(before)  # its reader stays open
    path.write_bytes(encode(-sound(0.9), 16000, form, coding))
    with pytest.raises(AudioError, match=r"a: cannot be read \(it changed while it was read; try again"):
        decode(before)
    path.unlink()
    with pytest.raises(AudioError, match=r"a: cannot be read \(No such file or directory\)"):
        decode(before)
    path.write_bytes(encode(-sound(0.9), 16000, form, coding))
    after = source.read()
    assert after.digest != before.digest
    assert decode(after)[0][0] * sound()[3200] < 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_and_its_parent_go_on_with_own_readers(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(encode(sound(4.0), 16000, "MP3", "MPEG_LAYER_III"))
    whole = soundfile.read(path, dtype="float32")[0]

    def right(i):
        part = samples_of(FileClip("a", path, Segment(i / 10, (i + 1) / 10)))
        return np.array_equal(part, whole[i * 1600 : (i + 1) * 1600])

    assert right(0)
    child = os.fork()
    if child == 0:
        try:
            good = not recordings._readers and all(right(i) for i in range(30))
        finally:
            os._exit(0 if good else 1)
    assert all(right(i) for i in range(1, 30))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# The table of digests


def test_the_stat_key_of_a_segment_names_file_and_times(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode(sound()))
    whole = FileClip("a", path).stat_key()
    key = FileClip("a", path, Segment(0.5, 2)).stat_key()
    assert key == (f"{path}\0{0.5!r},{2.0!r}", *whole[1:])
    assert FileClip("a", path, Segment(0.5)).stat_key()[0] == f"{path}\0{0.5!r},"
    assert FileClip("a", tmp_path / "gone", Segment(0.5)).stat_key() is None
    assert EncodedClip("a", b"", Segment(1.0)).stat_key() is None


def test_the_stat_table_keeps_segments_as_long_as_their_file_is_there(tmp_path):
    table = StatCache(tmp_path / "cache")
    path = tmp_path / "a.wav"
    path.write_bytes(encode(sound()))
    os.utime(path, ns=(5, 5))
    sources = [FileClip("a", path), *(FileClip("a", path, segment) for segment in SEGMENTS)]
    keys = [(*source.stat_key()[:2], 5, 5) for source in sources]
    digests = [source.read().digest for source in sources]
    table.store(zip(keys, digests, strict=True))
    assert table.lookup(keys) == digests
    assert table.prune() == 0
    assert table.lookup(keys) == digests
    path.unlink()
    assert table.prune() == len(keys)
    assert table.lookup(keys) == [None] * len(keys)


# Errors


def test_a_recording_that_is_not_there_or_unreadable_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"a: no such file: .*gone.wav"):
        FileClip("a", tmp_path / "gone.wav", Segment(1.0)).read()
    with pytest.raises(AudioError, match=r"a: cannot be read .*directory"):
        FileClip("a", tmp_path, Segment(1.0)).read()
    with pytest.raises(AudioError, match="is not after its start"):
        FileClip("a", tmp_path / "gone.wav", Segment(1.0, 0.5)).read()


def test_a_truncated_recording_is_named_though_the_segment_is_there(tmp_path):
    for form, coding in FORMATS:
        path = tmp_path / f"{form}-{coding}"
        data = encode(sound(3.0), 16000, form, coding)
        path.write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(AudioError, match="truncated"):
            samples_of(FileClip("a", path, Segment(0.1, 0.2)))
    assert not recordings._readers


def test_sources_of_segments_can_be_pickled(tmp_path):
    path = tmp_path / "a.ogg"
    path.write_bytes(encode(sound(), 16000, "OGG", "VORBIS"))
    source = FileClip("a", path, Segment(0.25, 0.75))
    content = source.read()
    decode(content)
    assert pickle.loads(pickle.dumps(source)) == source
    again = pickle.loads(pickle.dumps(content))
    assert again.digest == content.digest
    assert np.array_equal(decode(again)[0], decode(content)[0])
