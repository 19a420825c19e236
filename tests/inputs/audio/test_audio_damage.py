"""Audio files that break off or whose bits have changed: the right samples or one error, never a crash."""

from __future__ import annotations

import numpy as np
import pytest
from sound_files import FORMATS, encode, sound, with_id3

from featx.errors import AudioError
from featx.inputs.audio import EncodedClip, Segment, decode

#: Formats with checksums: every changed bit of the sound is noticed. Elsewhere it is another sound.
CHECKED = ("OGG", "FLAC")
FLAC_HEADER = 42


def outcome(data, segment=None):
    """Return the samples, or None for an `AudioError` of one line; any other exception fails the test."""
    source = EncodedClip("a", data) if segment is None else EncodedClip("a", data, segment)
    try:
        samples, rate = decode(source.read())
    except AudioError as error:
        line = str(error)
    else:
        line = ""
    if line:
        assert line.startswith("a: ")
        assert "\n" not in line
        assert len(line) < 250
        return None
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples)
    assert np.isfinite(samples).all()
    assert 100 <= rate <= 1_000_000
    return samples


@pytest.mark.parametrize(("form", "coding"), FORMATS)
def test_a_file_that_breaks_off_anywhere_is_named(form, coding, capfd):
    data = encode(sound(2.0), 16000, form, coding)
    whole = outcome(data)
    rng = np.random.default_rng([21, 1])
    ends = [*range(1, 64), *rng.integers(64, len(data), 60).tolist(), len(data) - 1]
    for end in ends:
        samples = outcome(data[:end])
        assert samples is None or np.array_equal(samples, whole), end
        samples = outcome(data[:end], Segment(0.1, 0.2))
        assert samples is None or np.array_equal(samples, whole[1600:3200]), end
    named = [end for end in ends if outcome(data[:end]) is None]
    # Behind the samples, some writers put chunks that nobody misses.
    assert len(named) == len(ends) or (form, coding) == ("CAF", "ALAC_16")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("form", "coding"), FORMATS)
def test_bits_that_changed_give_samples_or_one_error(form, coding, capfd):
    data = encode(sound(0.5, 16000, 2), 16000, form, coding)
    whole = outcome(data)
    rng = np.random.default_rng([21, 2])
    for number in range(150):
        damaged = bytearray(data)
        first = FLAC_HEADER if form == "FLAC" and number % 2 else 0
        last = len(data) if number % 2 else min(len(data), 160)
        for at in rng.integers(first, last, rng.integers(1, 4)).tolist():
            damaged[at] ^= 1 << int(rng.integers(8))
        samples = outcome(bytes(damaged))
        outcome(bytes(damaged), Segment(0.2, 0.3))
        if form in CHECKED and number % 2:
            assert samples is None or np.array_equal(samples, whole)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("form", "coding"), FORMATS)
def test_a_head_with_noise_behind_it_gives_samples_or_one_error(form, coding, capfd):
    data = encode(sound(0.2), 16000, form, coding)
    rng = np.random.default_rng([21, 3])
    for length in (4, 12, 16, 28, 44, 64, 100, 200):
        for _ in range(4):
            outcome(data[:length] + rng.bytes(int(rng.integers(0, 5000))))
            outcome(data[:length] + b"\xff" * 400)
    assert capfd.readouterr() == ("", "")


def test_an_ogg_page_that_changed_is_named():
    data = bytearray(encode(sound(2.0), 16000, "OGG", "VORBIS"))
    data[-500] ^= 1
    with pytest.raises(AudioError, match=r"a: a damaged Ogg file: the page at byte [\d,]+ has changed; copy"):
        decode(EncodedClip("a", bytes(data)).read())


def test_an_ogg_file_that_ends_between_two_pages_is_named():
    data = encode(sound(5.0), 16000, "OGG", "VORBIS")
    with pytest.raises(AudioError, match="a: a truncated Ogg file: its last page is missing; copy it again"):
        decode(EncodedClip("a", data[: data.rindex(b"OggS")]).read())


def test_an_mp3_file_that_promises_more_frames_is_named_without_its_number_of_bytes_too():
    data = bytearray(encode(sound(5.0), 16000, "MP3", "MPEG_LAYER_III"))
    at = data.index(b"Xing") + 4
    frame = data.index(b"\xff\xf3", 10)
    data[at + 3] &= ~2  # no bytes; what follows moves forward
    data[at + 8 : frame] = data[at + 12 : frame] + bytes(4)
    cut = bytes(data[: len(data) // 2])
    with pytest.raises(
        AudioError, match=r"a truncated or damaged MP3 file: its header promises [\d,]+ frames"
    ):
        decode(EncodedClip("a", cut).read())


def test_an_mp3_file_without_a_header_is_read_to_the_end():
    data = encode(sound(5.0), 16000, "MP3", "MPEG_LAYER_III")
    start = data.index(b"\xff\xf3", 10)
    samples = outcome(data[start:])
    assert 80_000 <= len(samples) <= 84_000
    whole = outcome(data)
    late = next(n for n in range(0, 4000) if np.abs(samples[n : n + 9000] - whole[:9000]).max() < 1e-4)
    np.testing.assert_allclose(samples[late : late + len(whole)], whole[: len(samples) - late], atol=1e-4)
    assert np.array_equal(outcome(data[start:], Segment(4.0, 4.5)), samples[64_000:72_000])
    assert np.array_equal(outcome(with_id3(data[start:])), samples)
    assert len(outcome(data[start : len(data) // 2])) < 45_000


def test_the_error_stream_of_c_comes_back(capfd):
    """It is away only while MP3 is decoded."""
    import ctypes

    from featx.inputs.audio.quiet import silent_in_c

    c = ctypes.CDLL(None)

    def say(text):
        stream = ctypes.c_void_p.in_dll(c, "stderr")
        c.fputs(text, stream)
        c.fflush(stream)

    with silent_in_c(), silent_in_c():
        say(b"lost")
    say(b"kept")
    assert capfd.readouterr().err == "kept"
