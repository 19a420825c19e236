"""Windows of a recording are the clips that they would be if they were cut out beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beeps import RATE, recording, write_wav

from featx.errors import AudioError
from featx.inputs.audio import EncodedClip, FileClip, LazyClip, SampledClip, Segment, decode
from featx.inputs.audio.cutting import cut_into_windows, seconds_of, window_segments


def times(segments):
    return [(one.start, one.stop) for one in segments]


def test_windows_start_at_multiples_of_the_hop_and_the_last_ends_with_the_recording():
    assert times(window_segments(1.0, 0.4, 0.2)) == [(0, 0.4), (0.2, 0.6), (0.4, 0.8), (0.6, 1.0)]
    assert times(window_segments(1.05, 0.5, 0.5)) == [(0, 0.5), (0.5, 1.0), (0.55, 1.05)]
    assert times(window_segments(0.3, 0.5, 0.1)) == [(0, 0.3)]
    assert times(window_segments(3.0, 1.0, 1.0, offset=10.5)) == [(10.5, 11.5), (11.5, 12.5), (12.5, 13.5)]
    # Sums of floats would give 0.30000000000000004, and another digest than that of 0.3 in a table.
    assert [one.start for one in window_segments(1, 0.1, 0.1)][3] == 0.3


@pytest.mark.parametrize("segment", [Segment(), Segment(0.25, 1.5)])
@pytest.mark.parametrize("form", ["file", "bytes", "samples", "lazy"])
def test_a_window_has_the_samples_of_the_segment_of_a_file(form, segment, tmp_path):
    samples = recording("lhlhll")
    path = write_wav(tmp_path / "r.wav", samples)
    source = {
        "file": FileClip("r", path, segment),
        "bytes": EncodedClip("r", path.read_bytes(), segment),
        "samples": SampledClip("r", samples, RATE, segment),
        "lazy": LazyClip("r", path.read_bytes, segment),
    }[form]
    windows = cut_into_windows(source, 0.3, 0.2)
    assert len(windows) > 3
    assert windows[0][1].id == ("r, 0-0.3 s" if segment.is_whole else "r, 0.25-0.55 s")
    assert windows[-1][0].stop == pytest.approx(1.8 if segment.is_whole else 1.5)
    for times, clip in windows:
        expected = decode(replace(source, segment=times).read())[0]
        np.testing.assert_array_equal(decode(clip.read())[0], expected)
        if form == "file":
            assert clip.read().digest == replace(source, segment=times).read().digest


def test_a_recording_of_one_window_is_itself(tmp_path):
    source = FileClip("r", write_wav(tmp_path / "r.wav", recording("l")))
    ((times, clip),) = cut_into_windows(source, 2.0, 1.0)
    assert (times.start, times.stop) == (0, 0.3)
    assert clip is source


def test_the_length_is_that_of_the_header_or_of_the_samples(tmp_path):
    path = write_wav(tmp_path / "r.wav", recording("lh"))
    assert seconds_of(FileClip("r", path)) == 0.6
    assert seconds_of(FileClip("r", path, Segment(0.1, 0.4))) == pytest.approx(0.3)
    assert seconds_of(SampledClip("r", np.zeros((8000, 2)), RATE)) == 0.5
    (tmp_path / "t.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"t\.wav"):
        seconds_of(FileClip("t.wav", tmp_path / "t.wav"))
    (tmp_path / "gone.wav").mkdir()
    for name in ("gone.wav", "missing.wav"):
        with pytest.raises(AudioError, match=name):
            cut_into_windows(FileClip(name, tmp_path / name), 0.3, 0.3)


@pytest.mark.parametrize("form", ["MP3", "OGG", "FLAC"])
def test_windows_of_compressed_recordings_are_those_of_the_decoded_whole(form, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"r.{form.lower()}"
    soundfile.write(path, recording("lhlhlhlh"), RATE, format=form)
    whole, rate = decode(FileClip("r", path).read())
    assert seconds_of(FileClip("r", path)) == len(whole) / rate
    for times, clip in cut_into_windows(FileClip("r", path), 0.5, 0.25):
        samples, _ = decode(clip.read())
        np.testing.assert_array_equal(samples, whole[round(times.start * rate) : round(times.stop * rate)])
