"""What a report shows of a clip: a spectrogram of its beginning, and a sound file that stays small."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("soundfile")

import soundfile
from PIL import Image
from spoken import RATE, say

from featx.inputs.audio import FileClip, SampledClip, Segment, decode
from featx.inputs.audio.excerpt import HEIGHT, WIDTH, spectrogram, take_excerpt


def excerpt(samples, rate=RATE, **more):
    return take_excerpt(SampledClip("a", np.asarray(samples, np.float32), rate).read(), **more)


def heard(found):
    return soundfile.read(io.BytesIO(found.sound), dtype="float32")


def test_a_short_clip_is_heard_as_it_is():
    samples = say(1)
    found = excerpt(samples)
    again, rate = heard(found)
    assert rate == RATE
    np.testing.assert_allclose(again, samples, atol=2**-15)
    assert found.shown == found.seconds == len(samples) / RATE
    assert found.highest == RATE / 2


def test_a_long_clip_is_cut_and_kept_small():
    noise = np.random.default_rng(0).normal(0, 0.3, 44100 * 30)
    found = excerpt(noise, 44100)
    assert len(found.sound) <= 100_000
    assert found.shown == pytest.approx(10.0)
    assert found.seconds == 30.0
    assert len(heard(found)[0]) / heard(found)[1] == pytest.approx(10.0, abs=0.1)
    smaller = excerpt(noise, 44100, most_bytes=16_000)
    assert len(smaller.sound) <= 16_000
    assert 1 < smaller.shown < 10


def test_of_a_long_segment_only_the_beginning_is_decoded(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).normal(0, 0.3, RATE * 40).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, RATE, "FLOAT")
    decoded = []

    def decode_and_count(content):
        samples, rate = decode(content)
        decoded.append(len(samples) / rate)
        return samples, rate

    monkeypatch.setattr("featx.inputs.audio.excerpt.decode", decode_and_count)
    found = take_excerpt(FileClip("a", tmp_path / "a.wav", Segment(5.0, 35.0)).read())
    cut = excerpt(noise[5 * RATE : 35 * RATE])
    assert (found.sound, found.picture, found.seconds) == (cut.sound, cut.picture, 30.0)
    assert decoded == [10.0, 10.0]


def test_without_mp3_a_long_clip_is_a_shorter_wav(monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": ""})
    found = excerpt(np.random.default_rng(0).normal(0, 0.3, 16000 * 8), 16000)
    assert found.sound[:4] == b"RIFF"
    assert len(found.sound) <= 100_000
    assert found.shown == pytest.approx(len(heard(found)[0]) / 16000)


@pytest.mark.parametrize("rate", [500, 8000, 48000])
@pytest.mark.parametrize("n", [8, 50, 5000])
def test_any_clip_has_a_small_picture(n, rate):
    found = excerpt(np.random.default_rng(0).normal(0, 3.0, n), rate)
    assert len(found.picture) < 6000
    picture = Image.open(io.BytesIO(found.picture))
    assert picture.size == (WIDTH, HEIGHT)
    assert np.abs(heard(found)[0]).max() <= 1
    assert 3000 <= heard(found)[1] <= 16000


def test_time_is_to_the_right_and_frequency_upwards():
    time = np.arange(RATE) / RATE
    rising = np.where(time < 0.5, np.sin(2 * np.pi * 400 * time), np.sin(2 * np.pi * 3000 * time))
    levels = spectrogram(rising.astype(np.float32), RATE)
    assert levels.shape == (HEIGHT, WIDTH)
    low, high = levels[:, : WIDTH // 3].argmax(axis=0), levels[:, -WIDTH // 3 :].argmax(axis=0)
    assert low.min() > HEIGHT // 2 > high.max()
    assert levels.max() == 1
    assert levels.min() >= 0


def test_silence_is_black():
    assert not spectrogram(np.zeros(100, np.float32), RATE).any()
