"""Filter banks and cepstral coefficients against a slow reference of Kaldi's formulas."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clips import sounds

from featx.errors import InputError
from featx.inputs.audio.kaldi import KaldiFrames


def mel(hertz):
    return 1127.0 * np.log(1.0 + hertz / 700.0)


def mel_filters(bands, rate, size):
    """Triangles (bands, size / 2): rising and falling on the mel scale, between 20 Hz and half the rate."""
    filters = np.zeros((bands, size // 2))
    lowest, highest = mel(20.0), mel(rate / 2)
    step = (highest - lowest) / (bands + 1)
    for band in range(bands):
        left, centre, right = (lowest + step * (band + i) for i in range(3))
        for i in range(size // 2):
            at = mel(i * rate / size)
            if left < at < right:
                filters[band, i] = (at - left) / step if at <= centre else (right - at) / step
    return filters


def slow_frames(samples, rate, bands):
    """Yield the log energy and the log energies of the filters of each whole frame, in float64."""
    width, shift = int(0.025 * rate), int(0.010 * rate)
    size = 1 << (width - 1).bit_length()
    filters = mel_filters(bands, rate, size)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / (width - 1))) ** 0.85
    epsilon = float(np.finfo(np.float32).eps)
    samples = samples.astype(np.float64) * 32768
    for start in range(0, len(samples) - width + 1, shift):
        frame = samples[start : start + width]
        frame = frame - frame.mean()
        energy = np.log(max((frame**2).sum(), epsilon))
        frame = np.concatenate([frame[:1] * (1 - 0.97), frame[1:] - 0.97 * frame[:-1]]) * window
        power = np.abs(np.fft.rfft(frame, size)[: size // 2]) ** 2
        yield energy, np.log(np.maximum(filters @ power, epsilon))


def slow_fbank(samples, rate, bands):
    return np.array([frame for _, frame in slow_frames(samples, rate, bands)])


def slow_mfcc(samples, rate, count):
    n = 23
    dct = np.array(
        [
            [np.sqrt((1 if k == 0 else 2) / n) * np.cos(np.pi / n * (i + 0.5) * k) for i in range(n)]
            for k in range(count)
        ]
    )
    lifter = 1 + 0.5 * 22 * np.sin(np.pi * np.arange(count) / 22)
    rows = []
    for energy, frame in slow_frames(samples, rate, n):
        row = dct @ frame * lifter
        row[0] = energy
        rows.append(row)
    return np.array(rows)


SLOW = {"fbank": slow_fbank, "mfcc": slow_mfcc}


@pytest.mark.parametrize(
    ("name", "bands", "rate"),
    [
        ("fbank", 80, 16000),
        ("fbank", 23, 8000),
        ("fbank", 40, 44100),
        ("mfcc", 13, 16000),
        ("mfcc", 20, 8000),
    ],
)
def test_frames_are_those_of_the_formulas(name, bands, rate):
    front = KaldiFrames(name, bands, rate)
    for samples in sounds(3):
        frames, slow = front.compute(samples), SLOW[name](samples, rate, bands)
        assert frames.shape == slow.shape == (front.positions(len(samples)), bands)
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames, slow, rtol=0, atol=2e-3)


def test_frames_repeat_also_in_threads():
    front = KaldiFrames()
    (samples,) = sounds(1)
    wanted = front.compute(samples)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(front.compute, [samples] * 16):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(front)).compute(samples), wanted)


def test_a_window_shorter_than_a_frame_is_extended_by_silence():
    front = KaldiFrames()
    short = sounds(1)[0][:100]
    wanted = front.compute(np.pad(short, (0, front.shortest - 100)))
    np.testing.assert_array_equal(front.compute(short), wanted)
    assert front.positions(100) == len(wanted) == 1


def test_the_identity_states_every_setting_of_kaldi():
    import kaldi_native_fbank

    for name in SLOW:
        stated = KaldiFrames(name).identity if name == "fbank" else KaldiFrames(name, 13).identity
        options = kaldi_native_fbank.FbankOptions() if name == "fbank" else kaldi_native_fbank.MfccOptions()
        for part in (options.frame_opts, options):
            for setting in (line.partition(":")[0] for line in str(part).splitlines() if ": " in line):
                if hasattr(part, setting) and setting in stated and setting != "dither":
                    wanted = getattr(part, setting)
                    assert stated[setting] == (wanted if isinstance(wanted, str) else pytest.approx(wanted))
        assert (stated["dither"], stated["window_type"], stated["snip_edges"]) == (0.0, "povey", True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bands": 1}, "bands of kaldi:fbank must be a whole number from 2 to 256, got 1"),
        ({"bands": True}, "bands of kaldi:fbank must be"),
        ({"rate": 16000.5}, "rate of kaldi:fbank must be a whole number from 1,000"),
        ({"name": "mfcc", "bands": 24}, "bands of kaldi:mfcc must be a whole number from 2 to 23, got 24"),
    ],
)
def test_settings_are_checked(settings, said):
    with pytest.raises(InputError, match=said):
        KaldiFrames(**settings)


def test_too_many_filters_for_a_rate_are_one_error():
    with pytest.raises(InputError, match="128 filters are too many at 8000 Hz; take fewer bands"):
        KaldiFrames("fbank", 128, 8000).check()
