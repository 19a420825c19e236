"""Log mel frames, against the extractor of transformers."""

import numpy as np
import pytest
from clips import RATE, import_transformers, sounds

from featx.inputs.audio.log_mel import LogMelFrames, mel_filters


def extractor(**settings):
    return import_transformers().WhisperFeatureExtractor(**settings)


@pytest.mark.parametrize("filters", [80, 128])
def test_frames_equal_those_of_transformers(filters):
    theirs = extractor(feature_size=filters)
    for sound in sounds(4):
        for length in (None, len(sound) + 100, len(sound) + RATE, 30 * RATE):
            mine = LogMelFrames(filters).compute(sound, length)
            padded = np.pad(sound, (0, (length or len(sound)) - len(sound)))
            wanted = theirs(padded, sampling_rate=RATE, padding=False, return_tensors="np")["input_features"]
            np.testing.assert_allclose(mine[:, :-1], wanted[0].T, atol=1e-4)


def test_other_settings_equal_those_of_transformers():
    settings = {"sampling_rate": 24000, "n_fft": 512, "hop_length": 200, "feature_size": 40}
    sound = sounds(1)[0]
    mine = LogMelFrames(40, 24000, 512, 200).compute(sound)
    theirs = extractor(**settings)(sound, sampling_rate=24000, padding=False, return_tensors="np")
    np.testing.assert_allclose(mine[:, :-1], theirs["input_features"][0].T, atol=1e-4)
    np.testing.assert_allclose(mel_filters(40, 512, 24000), extractor(**settings).mel_filters, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 100, 399, 400, 479, 480, 481, RATE])
def test_the_last_column_says_which_frames_begin_in_the_clip(samples):
    front = LogMelFrames()
    for length in (None, samples + RATE):
        frames = front.compute(np.full(samples, 0.5, np.float32), length)
        assert frames.shape == (front.positions(max(samples, length or 0)), front.bands)
        assert frames[:, -1].sum() == min(len(frames), -(-samples // front.hop))
        assert frames[0, -1] == 1


def test_silence_has_one_level():
    frames = LogMelFrames().compute(np.zeros(RATE, np.float32), 2 * RATE)
    assert set(frames[:, :-1].ravel().tolist()) == {-1.5}


def plain_frames(front, samples, length):
    """All frames at once, with every weight of every filter."""
    whole = max(len(samples), length or 0, front.shortest)
    padded = np.pad(samples, (0, whole - len(samples))).astype(np.float64)
    reflected = np.pad(padded, front.n_fft // 2, mode="reflect")
    starts = front.hop * np.arange(front.positions(whole))
    frames = reflected[starts[:, None] + np.arange(front.n_fft)]
    hann = np.sin(np.pi * np.arange(front.n_fft) / front.n_fft) ** 2
    energies = np.abs(np.fft.rfft(frames * hann)) ** 2 @ mel_filters(front.filters, front.n_fft, front.rate)
    levels = np.log10(np.maximum(energies, 1e-10))
    return (np.maximum(levels, levels.max() - 8) + 4) / 4


@pytest.mark.parametrize("front", [LogMelFrames(), LogMelFrames(128), LogMelFrames(40, 24000, 512, 200)])
def test_frames_equal_those_computed_plainly(front):
    for sound in [*sounds(2), np.tile(sounds(1)[0], 9), sounds(1)[0][:1], 1e-6 * sounds(1)[0]]:
        for length in (None, len(sound) + 3 * RATE):
            mine = front.compute(sound.astype(np.float32), length)[:, :-1]
            wanted = plain_frames(front, sound.astype(np.float32), length)
            np.testing.assert_allclose(mine, wanted, atol=1e-6)
