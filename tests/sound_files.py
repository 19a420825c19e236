"""Encode synthetic sounds as audio files of every format."""

from __future__ import annotations

import io

import numpy as np
import soundfile

#: Format and encoding of the files that are read, as soundfile names them.
FORMATS = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AIFF", "FLOAT"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


def sound(seconds: float = 1.0, rate: int = 16000, channels: int | None = None) -> np.ndarray:
    """Return a gliding tone over noise, float32 (frames,) or (frames, channels), with peaks below 0.8."""
    rng = np.random.default_rng(7)
    t = np.arange(round(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * (300 + 40 * t) * t)
    shape = t.shape if channels is None else (len(t), channels)
    noise = rng.uniform(-0.2, 0.2, shape)
    return np.asarray((tone if channels is None else tone[:, None]) + noise, np.float32)


def encode(samples: np.ndarray, rate: int = 16000, form: str = "WAV", coding: str = "PCM_16") -> bytes:
    """Return the bytes of a file; written in small blocks, which libsndfile's Vorbis needs."""
    file = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, coding, format=form) as out:
        for start in range(0, len(samples), 4096):
            out.write(samples[start : start + 4096])
    return file.getvalue()


def with_id3(data: bytes, picture: int = 300_000) -> bytes:
    """Return a file behind an ID3v2 tag with a picture of so many bytes."""
    art = b"\xff\xd8\xff\xe0" + bytes(range(256)) * (picture // 256)
    frame = b"APIC" + len(art).to_bytes(4, "big") + bytes(2) + art
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frame + data
