"""Random changes of clips: masks as a slow reference draws them, and nothing else is written over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from featx.inputs.audio import AudioPreparation, Waveform
from featx.inputs.audio.augment import MASKS, add_noise, augment_clip, mask_window
from featx.inputs.audio.front_ends import StatedFrontEnd
from featx.inputs.audio.log_mel import LogMelFrames

RATE = 1000


@dataclass(frozen=True)
class Frames(StatedFrontEnd):
    """Frames of ten samples, two bands and a third column that says that they are audio."""

    rate: int = RATE
    bands: int = 9
    filters: int = 8
    shortest: int = 10

    @property
    def identity(self):
        return {"name": "frames"}

    def positions(self, samples):
        return max(samples, self.shortest) // 10

    def compute(self, samples, length=None):
        whole = np.zeros(max(len(samples), length or 0), np.float32)
        whole[: len(samples)] = samples
        frames = np.zeros((self.positions(len(whole)), 9), np.float32)
        frames[:, :8] = whole[: len(frames) * 10].reshape(-1, 10)[:, :8]
        frames[:, 8] = np.arange(len(frames)) * 10 < len(samples)
        return frames


def sound(frames, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1, frames).astype(np.float32)


def mask_slowly(window, rng, positions, filters, time_mask, band_mask):
    """Mask one value after the other."""
    masked = window.copy()
    columns = range(filters) if window.ndim == 2 else [None]
    values = [window[t] if c is None else window[t, c] for t in range(positions) for c in columns]
    mean = np.mean(np.array(values, np.float32))
    spans = []
    for length, share in ((positions, time_mask), (filters, band_mask)):
        for _ in range(MASKS if length else 0):
            width = rng.integers(0, int(share * length) + 1)
            spans.append((rng.integers(0, length - width + 1), width))
    for number, (start, width) in enumerate(spans):
        for i in range(start, start + width):
            if window.ndim == 1:
                masked[i] = mean
            elif number < MASKS:
                for c in columns:
                    masked[i, c] = mean
            else:
                for t in range(positions):
                    masked[t, i] = mean
    return masked


@pytest.mark.parametrize(("shape", "filters"), [((40,), None), ((40, 9), 8), ((40, 8), 8)])
def test_masks_are_those_of_a_slow_reference(shape, filters):
    for seed in range(20):
        window = np.random.default_rng(100 + seed).standard_normal(shape).astype(np.float32)
        expected = mask_slowly(window, np.random.default_rng(seed), 30, filters or 0, 0.4, 0.5)
        found = window.copy()
        mask_window(found, np.random.default_rng(seed), 30, filters, 0.4, 0.5)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert np.array_equal(found[30:], window[30:])
        if len(shape) == 2:
            assert np.array_equal(found[:, filters:], window[:, filters:])


def test_masks_cover_at_most_their_shares():
    widest = 0
    for seed in range(200):
        window = np.random.default_rng(seed).standard_normal((50, 8))
        masked = window.copy()
        mask_window(masked, np.random.default_rng(seed), 50, 8, 0.2, 0.0)
        widest = max(widest, int((masked != window).all(1).sum()))
    assert 12 <= widest <= 20  # two masks of ten positions each


def test_flags_and_silence_behind_a_clip_are_never_written_over():
    preparation = AudioPreparation(Frames(), window=1.0, silence=0.2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (found,) = augment_clip(sound(400), rng, preparation, time_mask=1.0, band_mask=1.0)
        audio = int(found[:, 8].sum())
        assert set(np.unique(found[:, 8])) == {0.0, 1.0}
        assert 36 <= audio <= 44  # shifted by a tenth at most
        assert np.array_equal(found[:, 8], np.arange(len(found)) < audio)
        assert not found[audio:, :8].any()


def test_the_flag_of_whisper_is_no_band():
    preparation = AudioPreparation(LogMelFrames(), window=5.0, silence=0.5)
    plain = preparation.transform(sound(16000))[0]
    for seed in range(5):
        changed = augment_clip(sound(16000), np.random.default_rng(seed), preparation, shift=0.0)[0]
        assert np.array_equal(changed[:, -1], plain[:, -1])
        assert changed.shape == plain.shape


def test_the_same_generator_gives_the_same_clip_and_another_one_another():
    preparation = AudioPreparation(Waveform(RATE, shortest=10), window=1.0)
    clip, whole = sound(700), sound(700)
    one, same, other = (augment_clip(clip, np.random.default_rng(s), preparation) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert np.array_equal(clip, whole)  # what is kept in memory is not changed
    assert one.dtype == np.float32


def test_without_any_change_the_clip_stays_as_it_is():
    preparation = AudioPreparation(Waveform(RATE, shortest=10), window=1.0)
    off = {"time_mask": 0.0, "band_mask": 0.0, "noise": 0.0, "gain": 0.0, "shift": 0.0}
    found = augment_clip(sound(700), np.random.default_rng(0), preparation, **off)
    assert np.array_equal(found, preparation.transform(sound(700)))


def test_of_a_long_clip_one_window_is_shown_that_begins_anywhere():
    preparation = AudioPreparation(Waveform(RATE, shortest=10), window=0.5)
    off = {"time_mask": 0.0, "noise": 0.0, "gain": 0.0}
    ramp = np.arange(3000, dtype=np.float32)
    starts = set()
    for seed in range(30):
        found = augment_clip(ramp, np.random.default_rng(seed), preparation, **off)
        assert found.shape == (1, 500)
        assert np.array_equal(found[0], found[0, 0] + np.arange(500))
        starts.add(int(found[0, 0]))
    assert len(starts) > 20
    assert min(starts) < 500
    assert max(starts) > 2000


def test_windows_that_stand_side_by_side_are_all_shown():
    preparation = AudioPreparation(Waveform(RATE, shortest=10), window=0.5, join_by="concat:3")
    for frames in (200, 3000):
        assert augment_clip(sound(frames), np.random.default_rng(0), preparation).shape[0] == 3


def test_noise_has_the_ratio_and_silence_stays_silent():
    clip = sound(20000)
    noise = add_noise(clip, 20.0, np.random.default_rng(0)) - clip
    assert 10 * np.log10((clip**2).mean() / (noise**2).mean()) == pytest.approx(20.0, abs=0.2)
    silence = np.zeros(100, np.float32)
    assert not add_noise(silence, 20.0, np.random.default_rng(0)).any()
