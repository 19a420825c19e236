"""Recognise an audio file by its first bytes."""

from __future__ import annotations

_SIGNATURES = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b".snd": "AU",
    b"riff\x2e\x91\xcf\x11": "W64",
}
# The first four bytes, and those that follow the length.
_IN_CHUNKS = {(b"RIFF", b"WAVE"): "WAV", (b"RIFX", b"WAVE"): "WAV", (b"RF64", b"WAVE"): "WAV"} | {
    (b"FORM", kind): "AIFF" for kind in (b"AIFF", b"AIFC")
}


def sniff_audio(data: bytes) -> str | None:
    """Return the format of audio that the first bytes of a file show, or None."""
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature):
            return name
    found = _IN_CHUNKS.get((bytes(data[:4]), bytes(data[8:12])))
    return found or ("MP3" if _is_frame_of_mp3(data) else None)


def _is_frame_of_mp3(data: bytes) -> bool:
    """Whether a frame of MPEG audio begins here: eleven set bits, then fields with forbidden values."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return False
    version, layer = (data[1] >> 3) & 3, (data[1] >> 1) & 3
    bitrate, rate = data[2] >> 4, (data[2] >> 2) & 3
    return version != 1 and layer != 0 and bitrate not in (0, 15) and rate != 3
