"""Audio files of every format give their samples; what is none is named with what to do about it."""

from __future__ import annotations

import io
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from sound_files import FORMATS, encode, sound, with_id3

from featx.errors import AudioError, MissingExtra
from featx.inputs.audio import ClipContent, EncodedClip, FileClip, Segment, decode
from featx.inputs.audio import reader as reader_module
from featx.inputs.audio.resample import resample

WAV = encode(sound())
SAMPLES = soundfile.read(io.BytesIO(WAV), dtype="float32")[0]


def decoded(data, segment=None):
    content = EncodedClip("a", data).read() if segment is None else EncodedClip("a", data, segment).read()
    return decode(content)


def message_of(data, segment=None):
    with pytest.raises(AudioError) as caught:
        decoded(data, segment)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("a: ")


def with_sizes(whole, data):
    """A WAV file whose header has these lengths."""
    return WAV[:4] + struct.pack("<I", whole) + WAV[8:40] + struct.pack("<I", data) + WAV[44:]


# Formats


@pytest.mark.parametrize(("form", "coding"), FORMATS)
@pytest.mark.parametrize("seconds", [0.5, 5.0])  # held in memory in two ways
def test_every_format_gives_what_soundfile_reads(form, coding, seconds):
    data = encode(sound(seconds), 16000, form, coding)
    samples, rate = decoded(data)
    expected = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    assert rate == 16000
    assert samples.dtype == np.float32
    assert np.array_equal(samples, expected)
    assert np.corrcoef(samples[: len(sound(seconds))], sound(seconds))[0, 1] > 0.9


@pytest.mark.parametrize(("coding", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24), ("PCM_32", 32)])
def test_whole_numbers_are_divided_by_the_largest_of_their_width(coding, bits):
    wanted = np.array([0, 0.5, -0.5, -1], np.float32)
    samples, _ = decoded(encode(wanted, 16000, "WAV", coding))
    assert np.abs(samples - wanted).max() <= 2.0 ** (1 - bits)


def test_the_suffix_does_not_matter(tmp_path):
    for name in ("a.mp3", "a.txt", "a"):
        path = tmp_path / name
        path.write_bytes(WAV)
        assert np.array_equal(decode(FileClip("a", path).read())[0], SAMPLES)


@pytest.mark.parametrize("channels", [2, 8])
def test_channels_are_averaged(channels):
    samples, rate = decoded(encode(sound(0.3, 96000, channels), 96000, "WAV", "FLOAT"))
    assert rate == 96000
    np.testing.assert_allclose(samples, sound(0.3, 96000, channels).mean(axis=1), atol=1e-6)


def test_floats_beyond_1_stay_as_they_are():
    loud = 5 * sound(0.1)
    assert np.array_equal(decoded(encode(loud, 16000, "WAV", "FLOAT"))[0], loud)


@pytest.mark.parametrize("whole", [0, 2**32 - 1])
@pytest.mark.parametrize("length", [0, 2**31 - 65536, 2**31, 2**32 - 1])
def test_a_header_of_a_stream_is_read_to_the_end(whole, length):
    data = with_sizes(whole, length)
    assert np.array_equal(decoded(data)[0], SAMPLES)
    assert np.array_equal(decoded(data, Segment(0.2, 0.4))[0], SAMPLES[3200:6400])


def test_an_au_file_of_a_stream_is_read_to_the_end():
    data = encode(sound(), 16000, "AU")
    streamed = data[:8] + b"\xff" * 4 + data[12:]
    assert np.array_equal(decoded(streamed)[0], SAMPLES)


@pytest.mark.parametrize(("form", "coding"), [("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")])
def test_a_tag_with_a_picture_changes_nothing(form, coding):
    data = encode(sound(), 16000, form, coding)
    expected = decoded(data)[0]
    assert np.array_equal(decoded(with_id3(data))[0], expected)
    assert np.array_equal(decoded(with_id3(with_id3(data)))[0], expected)
    assert np.array_equal(decoded(with_id3(data), Segment(0.3, 0.5))[0], expected[4800:8000])
    assert np.array_equal(decoded(data + b"TAG" + bytes(125))[0], expected)


def test_flac_of_unknown_length_is_read_to_the_end():
    data = bytearray(encode(sound(), 16000, "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    expected = decoded(encode(sound(), 16000, "FLAC"))[0]
    assert np.array_equal(decoded(bytes(data))[0], expected)
    assert np.array_equal(decoded(bytes(data), Segment(0.5))[0], expected[8000:])


def test_threads_decode_the_same_samples():
    files = [encode(sound(3.0), 16000, *kind) for kind in FORMATS]
    alone = [decoded(data)[0] for data in files]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda data: decoded(data)[0], files * 3))
    for got, wanted in zip(together, alone * 3, strict=True):
        assert np.array_equal(got, wanted)


def test_without_files_in_memory_samples_are_the_same(monkeypatch):
    data = encode(sound(10.0), 16000, "FLAC")
    expected = decoded(data)[0]

    def full(name):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", full, raising=False)
    assert np.array_equal(decoded(data)[0], expected)


# Files that cannot be decoded

NAN = encode(np.where(np.arange(100) == 50, np.nan, 0.1).astype(np.float32), 16000, "WAV", "FLOAT")
BROKEN = {
    "truncated": (
        WAV[:20_000],
        r"a truncated WAV file: its header promises 32,000 bytes of sound, 19,956 are there; copy it again",
    ),
    "wrong suffix (an M4A named .wav)": (
        b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(200),
        r"is an MPEG-4 file \(M4A, MP4\); convert it to WAV or FLAC",
    ),
    "zero length": (b"", "is an empty file"),
    "0 Hz header": (
        WAV[:24] + bytes(4) + WAV[28:],
        "its header states 0 Hz, expected 100 to 1,000,000; the file is damaged",
    ),
    "text renamed .wav": (
        b"path,label\na.wav,cat\n",
        "is no audio but a text",
    ),
    "NaN samples": (NAN, r"holds samples that are no numbers \(NaN or infinite\)"),
}
RIGHT = {
    "32-bit float beyond 1": (encode(5 * sound(), 16000, "WAV", "FLOAT"), 16000, 5 * sound()),
    "96 kHz": (encode(sound(0.2, 96000), 96000, "WAV", "FLOAT"), 96000, sound(0.2, 96000)),
    "8 channels": (encode(np.stack([sound()] * 8, 1), 16000, "WAV", "FLOAT"), 16000, sound()),
    "MP3 with ID3 art": (with_id3(encode(sound(), 16000, "MP3", "MPEG_LAYER_III")), 16000, None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_ten_broken_files_give_one_clear_line(name):
    data, line = BROKEN[name]
    with pytest.raises(AudioError, match=f"^a: {line}$"):
        decoded(data)


@pytest.mark.parametrize("name", RIGHT)
def test_or_the_right_samples(name):
    data, rate, expected = RIGHT[name]
    if expected is None:
        expected = decoded(encode(sound(), 16000, "MP3", "MPEG_LAYER_III"))[0]
    samples, found = decoded(data)
    assert found == rate
    np.testing.assert_allclose(samples, expected, atol=1e-6)


OTHERS = {
    b"\x89PNG\r\n\x1a\n": "is no audio but a PNG image",
    b"\xff\xd8\xff\xe0": "is no audio but a JPEG image",
    b"PK\x03\x04": "is no audio but a ZIP archive; unpack it",
    b"RIFF\0\0\0\0WEBPVP8 ": "is no audio but a WebP image",
    b"RIFF\0\0\0\0AVI LIST": "is an AVI video; convert it to WAV or FLAC",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": r"is a Windows Media file \(WMA\); convert it to WAV or FLAC",
    b"\x1a\x45\xdf\xa3": "is a Matroska or WebM file; convert it to WAV or FLAC",
    b"\xff\xf1\x50\x80": "is an AAC file; convert it to WAV or FLAC",
    b"#!AMR\n\x3c": "is an AMR file; convert it to WAV or FLAC",
    b"MThd\0\0\0\x06": "is no audio but a MIDI file, which holds notes and no sound",
    bytes(16): "begins with null bytes alone, like an incomplete download; copy it again",
    b"\x91\x82\x73\x64": "is no audio in a known format; convert it to WAV or FLAC",
}


@pytest.mark.parametrize("start", OTHERS)
def test_what_is_no_audio_is_named(start):
    with pytest.raises(AudioError, match=f"^a: {OTHERS[start]}$"):
        decoded(start + bytes(1000))


def test_texts_are_named_in_any_language():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"
    assert message_of(pointer) == (
        "is no audio but a pointer of Git LFS; fetch the file itself with: git lfs pull"
    )
    assert "is no audio but a text" in message_of(("Größe 音 " * 100).encode()[:511])


def test_headers_that_no_recording_has():
    assert "its header states 0 channels" in message_of(WAV[:22] + bytes(2) + WAV[24:])
    au = encode(sound(0.1), 16000, "AU")
    assert message_of(au[:20] + struct.pack(">I", 2**31) + au[24:]) == (
        "its header states 2,147,483,648 channels, expected 1 to 1,024; the file is damaged"
    )
    assert "its header states 4,294,967,295 Hz" in message_of(WAV[:24] + b"\xff" * 4 + WAV[28:])


@pytest.mark.parametrize(("form", "coding"), [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("OGG", "VORBIS")])
def test_a_file_without_samples_is_named(form, coding):
    assert message_of(encode(sound(0.0), 16000, form, coding)) == "holds no samples"


def test_lengths_that_a_header_makes_up_take_no_memory():
    """2**36 frames in FLAC, and 2**32 in MP3."""
    flac = bytearray(encode(sound(), 16000, "FLAC"))
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4
    assert "its header promises 68,719,476,735 frames, and the last one is missing" in message_of(bytes(flac))
    mp3 = bytearray(encode(sound(), 16000, "MP3", "MPEG_LAYER_III"))
    at = mp3.index(b"Xing") + 8
    mp3[at : at + 4] = b"\xff" * 4
    assert "header promises" in message_of(bytes(mp3))


def test_a_recording_that_is_too_long_is_refused_and_its_segments_are_not(monkeypatch):
    monkeypatch.setattr(reader_module, "MOST_FRAMES", 12_000)
    for form, coding in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")):
        data = encode(sound(1.0), 16000, form, coding)
        assert "decoded at once; take segments of it (start and end)" in message_of(data)
        assert len(decoded(data, Segment(0.4))[0]) > 9000


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_missing_package_names_the_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    reader_module._forward_file.cache_clear()
    use = (lambda: decoded(WAV)) if package == "soundfile" else (lambda: resample(SAMPLES, 16000, 8000))
    with pytest.raises(MissingExtra, match=rf"needs the package '{package}'.*pip install 'featx\[audio\]'"):
        use()


def test_segments_outside_the_recording_are_named():
    for data in (WAV, encode(sound(), 16000, "MP3", "MPEG_LAYER_III")):
        assert message_of(data, Segment(2.0)) == "its segment starts at 2 s, and it lasts 1 s"
        assert (
            message_of(data, Segment(0.5, 0.50001))
            == "its segment 0.5-0.50001 s holds no sample at 16,000 Hz"
        )
        assert len(decoded(data, Segment(0.75, 9.0))[0]) == 4000
    with pytest.raises(AudioError, match=r"its end, 1 s, is not after its start, 2 s"):
        ClipContent.of_bytes(WAV, "a", Segment(2.0, 1.0))
    with pytest.raises(AudioError, match="start and end must be seconds of at least 0"):
        ClipContent.of_bytes(WAV, "a", Segment(float("nan")))
    with pytest.raises(AudioError, match="start and end must be seconds of at least 0"):
        ClipContent.of_bytes(WAV, "a", Segment(1e308))
