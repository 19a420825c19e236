"""Windows of a recording are the clips that they would be if they were cut out beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from beeps import RATE, recording, write_wav

from featx.errors import AudioError
from featx.inputs.audio import EncodedClip, FileClip, LazyClip, SampledClip, Segment, decode
from featx.inputs.audio.recording import RecentRecordings, Recording, seconds_of, window_segments


def times(segments):
    return [(one.start, one.stop) for one in segments]


def test_windows_start_at_multiples_of_the_hop_and_the_last_ends_with_the_recording():
    assert times(window_segments(1.0, 0.4, 0.2)) == [(0, 0.4), (0.2, 0.6), (0.4, 0.8), (0.6, 1.0)]
    assert times(window_segments(1.05, 0.5, 0.5)) == [(0, 0.5), (0.5, 1.0), (0.55, 1.05)]
    assert times(window_segments(0.3, 0.5, 0.1)) == [(0, 0.3)]
    assert times(window_segments(3.0, 1.0, 1.0, offset=10.5)) == [(10.5, 11.5), (11.5, 12.5), (12.5, 13.5)]
    # Sums of floats would give 0.30000000000000004, and another digest than that of 0.3 in a table.
    assert [one.start for one in window_segments(1, 0.1, 0.1)][3] == 0.3


@pytest.mark.parametrize("form", ["file", "bytes", "samples", "lazy"])
@pytest.mark.parametrize("segment", [Segment(), Segment(0.25, 1.5)])
def test_a_window_has_the_digest_and_the_samples_of_the_segment_of_a_file(form, segment, tmp_path):
    samples = recording("lhlhll")
    path = write_wav(tmp_path / "r.wav", samples)
    source = {
        "file": FileClip("r", path, segment),
        "bytes": EncodedClip("r", path.read_bytes(), segment),
        "samples": SampledClip("r", samples, RATE, segment),
        "lazy": LazyClip("r", path.read_bytes, segment),
    }[form]
    recorded = Recording(source, RecentRecordings())
    windows = recorded.windows(0.3, 0.2)
    assert len(windows) > 3
    assert windows[0].id == "r, 0-0.3 s" if segment.is_whole else "r, 0.25-0.55 s"
    assert windows[-1].end == pytest.approx(1.8 if segment.is_whole else 1.5)
    for window in windows:
        found = window.read()
        cut = type(source)(**{**{k: getattr(source, k) for k in source.__slots__}, "segment": window.segment})
        expected = cut.read()
        assert found.digest == expected.digest
        np.testing.assert_array_equal(decode(found)[0], decode(expected)[0])
        assert found.nbytes == decode(found)[0].nbytes


def test_a_recording_of_one_window_is_itself(tmp_path):
    path = write_wav(tmp_path / "r.wav", recording("l"))
    (window,) = Recording(FileClip("r", path), RecentRecordings()).windows(2.0, 1.0)
    assert (window.id, window.segment.start, window.end) == ("r", 0, 0.3)
    assert window.read().digest == FileClip("r", path).read().digest


def test_samples_are_forgotten_and_decoded_again(tmp_path):
    kept = RecentRecordings(most=1)
    recordings = []
    for name in "ab":
        write_wav(tmp_path / name, recording("lh" if name == "a" else "hl"))
        recordings.append(Recording(FileClip(name, tmp_path / name), kept))
    assert len(kept._found) == 1
    for one in [*recordings, *recordings]:
        np.testing.assert_array_equal(one.samples()[0], decode(one.source.read())[0])
        assert len(kept._found) == 1


def test_the_length_is_that_of_the_header_or_of_the_samples(tmp_path):
    path = write_wav(tmp_path / "r.wav", recording("lh"))
    assert seconds_of(FileClip("r", path)) == 0.6
    assert seconds_of(FileClip("r", path, Segment(0.1, 0.4))) == pytest.approx(0.3)
    assert seconds_of(SampledClip("r", np.zeros((8000, 2)), RATE)) == 0.5
    (tmp_path / "t.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"t\.wav"):
        seconds_of(FileClip("t.wav", tmp_path / "t.wav"))
