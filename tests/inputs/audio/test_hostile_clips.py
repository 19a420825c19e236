"""Clips that would fill memory, overflow, show what a file holds, or wait for ever: one line for each."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from sound_files import encode, sound

import featx.inputs.audio.preparation as preparation_module
import featx.inputs.audio.reader as reader_module
from featx.errors import AudioError
from featx.inputs.audio import AudioPreparation, EncodedClip, FileClip, SampledClip, Segment, Waveform, decode
from featx.inputs.audio.recordings import Recording

WAVEFORM = Waveform(16000)


def test_a_low_rate_does_not_fill_memory_when_it_is_raised(monkeypatch):
    monkeypatch.setattr(reader_module, "MOST_FRAMES", 100_000)
    content = SampledClip("a", np.full(1000, 0.1, np.float32), 100).read()
    with pytest.raises(
        AudioError, match=r"^a: 0\.0 hours at 16,000 Hz, and at most 0\.0 are decoded at once"
    ):
        AudioPreparation(WAVEFORM).prepare(content)
    assert AudioPreparation(Waveform(8000)).prepare(content).size == 80_000


@pytest.mark.parametrize("join", ["mean", "concat:64"])
def test_windows_that_fill_memory_are_refused_before_they_are_made(monkeypatch, join):
    content = SampledClip("a", sound(4.0), 16000).read()
    preparation = AudioPreparation(WAVEFORM, window=2.0, hop=0.02, join_by=join)
    made = preparation.prepare(content)
    monkeypatch.setattr(preparation_module, "MOST_VALUES", made.size)
    assert np.array_equal(preparation.prepare(content), made)
    monkeypatch.setattr(preparation_module, "MOST_VALUES", made.size - 1)
    with pytest.raises(
        AudioError, match=rf"^a: its {len(made)} windows of 2 s take .* take a longer hop, or"
    ):
        preparation.prepare(content)


@pytest.mark.parametrize("loud", [1e10, -3e38])
def test_samples_whose_energies_overflow_are_named(loud):
    samples = sound(0.1)
    samples[7] = loud
    for source in (
        SampledClip("a", samples, 16000),
        EncodedClip("a", encode(samples, 16000, "WAV", "FLOAT")),
    ):
        with pytest.raises(AudioError, match=r"^a: holds samples up to .*, where 1 is loud; it is damaged$"):
            decode(source.read())


def test_whole_numbers_of_32_bits_in_floating_point_are_taken():
    samples = (sound(0.1) * 2.0**31).astype(np.float32)
    assert np.array_equal(decode(SampledClip("a", samples, 16000).read())[0], samples)


@pytest.mark.parametrize("segment", [Segment(), Segment(0.0, 0.5)])
def test_no_message_shows_what_a_file_behind_a_link_holds(tmp_path, segment):
    secret = tmp_path / "secret"
    secret.write_text("root:hunter2:0:0")
    (tmp_path / "data").mkdir()
    link = tmp_path / "data" / "x.wav"
    link.symlink_to(secret)
    with pytest.raises(AudioError) as raised:
        decode(FileClip("x.wav", str(link), segment).read())
    assert str(raised.value) == "x.wav: is no audio but a text"


def test_a_web_page_is_called_so():
    with pytest.raises(AudioError, match=r"^a: is no audio but a web page$"):
        decode(EncodedClip("a", b"\n<!DOCTYPE html><html>Not found").read())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no pipes")
def test_a_pipe_in_place_of_a_recording_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    failed = []

    def read():
        try:
            Recording((str(tmp_path / "x.wav"), 1, 1, 1)).open()
        except OSError as error:
            failed.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert failed == ["it changed while it was read; try again when it is complete"]
