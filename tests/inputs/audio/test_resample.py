"""Changed rates, against slow resampling in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal

from featx.errors import AudioError
from featx.inputs.audio import AudioPreparation, SampledClip, Waveform
from featx.inputs.audio.resample import resample


def slow_resample(samples, rate, wanted):
    """Sum a sinc over all samples for each new one, which is exact below half of the lower rate.

    ``y(t) = sum_n x[n] sinc(rate t - n)``: Shannon's series, of a signal without anything above.
    """
    n = np.arange(len(samples))
    times = np.arange(math.floor(len(samples) * wanted / rate + 0.5)) / wanted
    return np.array([samples.astype(np.float64) @ np.sinc(rate * t - n) for t in times])


def tones(rate, seconds, highest):
    """Tones below `highest` hertz that fade in and out."""
    rng = np.random.default_rng(3)
    t = np.arange(round(rate * seconds)) / rate
    sum_of_tones = sum(np.sin(2 * np.pi * (f * t + rng.random())) for f in rng.uniform(50, highest, 12))
    return (sum_of_tones * np.hanning(len(t)) / 12).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_a_signal_below_half_of_both_rates_keeps_its_shape(rate):
    wanted = 16000
    samples = tones(rate, 0.12, 0.4 * min(rate, wanted))
    got = resample(samples, rate, wanted)
    expected = slow_resample(samples, rate, wanted)
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-4)


@pytest.mark.parametrize("rate", [44100, 96000])
def test_it_is_what_the_fourier_transform_gives(rate):
    samples = tones(rate, 1.0, 6000)
    expected = scipy.signal.resample(samples.astype(np.float64), 16000)
    np.testing.assert_allclose(resample(samples, rate, 16000), expected, atol=2e-4)


@pytest.mark.parametrize(("rate", "hertz"), [(22050, 10000), (44100, 12000), (96000, 9000), (96000, 40000)])
def test_what_the_lower_rate_cannot_hold_is_filtered_out(rate, hertz):
    t = np.arange(rate) / rate
    got = resample(np.sin(2 * np.pi * hertz * t).astype(np.float32), rate, 16000)
    assert np.abs(got[2000:-2000]).max() < 1e-4  # -80 dB; without a filter it would be 1


@pytest.mark.parametrize("rate", [8000, 11025, 12345, 16000, 22050, 44100, 96000])
@pytest.mark.parametrize("frames", [2, 3, 10, 99, 1000, 12345])
def test_the_length_is_rounded(rate, frames):
    wanted = math.floor(frames * 16000 / rate + 0.5)
    assert len(resample(np.zeros(frames, np.float32), rate, 16000)) == wanted


def test_equal_rates_change_nothing():
    samples = tones(16000, 0.1, 4000)
    assert resample(samples, 16000, 16000) is samples


def test_a_clip_too_short_for_a_sample_is_named():
    clip = SampledClip("a", np.ones(1, np.float32), 96000).read()
    with pytest.raises(AudioError, match="a: holds no sample at 16000 Hz"):
        AudioPreparation(Waveform()).prepare(clip)
