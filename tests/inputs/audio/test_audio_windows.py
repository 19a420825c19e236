"""Windows of clips: they cover a clip, none reaches beyond it, and each has its times in the recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import encode, sound

from featx.inputs.audio import (
    WHOLE,
    AudioPreparation,
    EncodedClip,
    FileClip,
    SampledClip,
    Segment,
    Waveform,
    decode,
)
from featx.inputs.audio.decode import length_of
from featx.inputs.audio.preparation import SILENT
from featx.inputs.audio.resample import resample, resampled_length
from featx.inputs.audio.windows import spread_starts, window_starts

lengths = st.integers(1, 5000)


@given(lengths, lengths, lengths)
@settings(max_examples=300, deadline=None)
def test_windows_cover_a_clip_without_reaching_beyond_it(frames, window, hop):
    starts = window_starts(frames, window, hop)
    assert starts.dtype == np.int64
    assert starts[0] == 0
    assert len(set(starts.tolist())) == len(starts)
    assert (np.diff(starts) > 0).all()
    if frames <= window:
        assert len(starts) == 1
        return
    assert (starts + window <= frames).all()
    assert starts[-1] + window == frames
    assert (starts[:-1] == hop * np.arange(len(starts) - 1)).all()
    if hop <= window:  # with a longer hop, what lies between is left out on purpose
        covered = np.zeros(frames, bool)
        for start in starts.tolist():
            covered[start : start + window] = True
        assert covered.all()
    # One window fewer would leave the end out.
    assert len(starts) == 1 + -(-(frames - window) // hop)


@given(lengths, lengths, st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_spread_windows_reach_from_start_to_end_evenly(frames, window, count):
    starts = spread_starts(frames, window, count)
    assert starts.dtype == np.int64
    assert len(starts) == count
    assert starts[0] == 0
    last = max(0, frames - window)
    assert (starts <= last).all()
    if count > 1:
        assert starts[-1] == last
        gaps = np.diff(starts)
        assert gaps.max() - gaps.min() <= 1
        if last >= count - 1:
            assert len(set(starts.tolist())) == count


# Times


def test_window_times_are_those_of_the_recording():
    preparation = AudioPreparation(Waveform(), window=1.0, hop=0.5)
    clip = EncodedClip("a", encode(sound(2.3))).read()
    expected = [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (1.3, 2.3)]
    np.testing.assert_allclose(preparation.window_times(clip), expected)
    np.testing.assert_allclose(preparation.window_times(sound(2.3)), expected)
    assert len(preparation.prepare(clip)) == 4
    segment = EncodedClip("a", encode(sound(12.0)), Segment(10.0, 11.2)).read()
    np.testing.assert_allclose(preparation.window_times(segment), [(10.0, 11.0), (10.2, 11.2)])
    short = SampledClip("a", sound(0.4, 8000), 8000, Segment(0.1)).read()
    np.testing.assert_allclose(preparation.window_times(short), [(0.1, 0.4)])


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
@pytest.mark.parametrize("join", ["mean", "concat:3"])
def test_there_is_a_time_for_each_window(rate, join):
    preparation = AudioPreparation(Waveform(), window=0.5, hop=0.2, join_by=join)
    for seconds in (0.1, 0.5, 0.51, 1.7):
        clip = SampledClip("a", sound(seconds, rate), rate).read()
        times = preparation.window_times(clip)
        assert len(times) == len(preparation.prepare(clip))
        assert times[0][0] == 0
        assert times[-1][1] == pytest.approx(seconds, abs=1e-4)


@pytest.mark.parametrize(
    ("form", "coding"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
)
def test_the_length_of_a_clip_is_that_of_its_samples(form, coding, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(encode(sound(2.0, 24000), 24000, form, coding))
    for segment in (WHOLE, Segment(0.5, 1.25), Segment(1.5), Segment(0.1, 9.0)):
        for source in (FileClip("a", path, segment), EncodedClip("a", path.read_bytes(), segment)):
            samples, rate = decode(source.read())
            assert length_of(source.read()) == (len(samples), rate)
    assert length_of(SampledClip("a", sound(), 16000, Segment(0.5)).read()) == (8000, 16000)


@given(lengths, st.sampled_from([8000, 11025, 22050, 24000, 44100, 48000, 96000]))
@settings(max_examples=60, deadline=None)
def test_the_length_of_resampled_clips_is_known_beforehand(frames, rate):
    samples = np.zeros(frames, np.float32)
    assert resampled_length(frames, rate, 16000) == len(resample(samples, rate, 16000))


@dataclass(frozen=True)
class WithMargin(Waveform):
    """A front end that wants silence around a clip."""

    margin: float = 0.2


def test_windows_of_a_clip_within_silence_have_times_of_the_clip():
    preparation = AudioPreparation(WithMargin(), window=0.5, hop=0.5)
    clip = SampledClip("a", sound(1.0), 16000).read()
    times = preparation.window_times(clip)
    assert len(times) == len(preparation.prepare(clip))
    np.testing.assert_allclose(times, [(0.0, 0.3), (0.3, 0.8), (0.7, 1.0)])


# Silence


@pytest.mark.parametrize(
    ("samples", "silent"),
    [
        (np.zeros(32000, np.float32), True),
        (np.zeros((32000, 2), np.int16), True),
        (np.where(np.arange(32000) == 31999, 1, 0).astype(np.int16), False),
        (np.random.default_rng(0).integers(-1, 2, 32000).astype(np.int16), False),  # dither
    ],
)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_clip_of_zeros_is_noted_once_and_prepared(samples, silent, rate):
    notes = []

    def note(name, value=None):
        notes.append(name)

    preparation = AudioPreparation(Waveform(), window=0.5, hop=0.25)
    prepared = preparation.prepare(SampledClip("a", samples, rate).read(), note=note)
    assert notes.count(SILENT) == silent
    assert [name for name in notes if name in preparation.stages] == list(preparation.stages)
    assert np.isfinite(prepared).all()
    assert len(prepared) > 1
