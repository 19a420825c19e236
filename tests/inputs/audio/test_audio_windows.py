"""Windows of clips: they cover a clip, none reaches beyond it, and each has its times in the recording."""

from __future__ import annotations

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


# Lengths


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


# Silence


@pytest.mark.parametrize(
    ("samples", "silent"),
    [
        (np.zeros(32000, np.float32), True),
        (np.zeros((32000, 2), np.int16), True),
        (np.random.default_rng(0).integers(-1, 2, 32000).astype(np.int16), True),  # dither
        (np.where(np.arange(32000) == 31999, 10, 0).astype(np.int16), False),
        (np.random.default_rng(0).integers(-5, 6, 32000).astype(np.int16), False),
    ],
)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_silent_clip_is_noted_once_and_prepared(samples, silent, rate):
    notes = []

    def note(name, value=None):
        notes.append(name)

    preparation = AudioPreparation(Waveform(), window=0.5, hop=0.25)
    prepared = preparation.prepare(SampledClip("a", samples, rate).read(), note=note)
    assert notes.count(SILENT) == silent
    assert [name for name in notes if name in preparation.stages] == list(preparation.stages)
    assert np.isfinite(prepared).all()
    assert len(prepared) > 1
