"""Recognise by its first bytes what a file is: a format of audio that is read here, or something else."""

from __future__ import annotations

import re

from featx.inputs.audio.mpeg import is_frame

#: Bytes at the start of a file by which it is recognised.
HEAD = 512

#: What a file is that begins with these bytes, of the formats that are read.
_AUDIO = {
    b"RF64": "RF64",
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb": "W64",
    b".snd": "AU",
    b"dns.": "AU",
    b"fLaC": "FLAC",
    b"OggS": "OGG",
    b"caff": "CAF",
    b"NIST_1A": "NIST",
}
#: Other audio and video; converted, they can be read.
_CONVERTED = {
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "a Windows Media file (WMA)",
    b"\x1a\x45\xdf\xa3": "a Matroska or WebM file",
    b"#!AMR": "an AMR file",
    b"MAC ": "a Monkey's Audio file",
    b"wvpk": "a WavPack file",
    b"TTA1": "a True Audio file",
    b"MP+": "a Musepack file",
    b"MPCK": "a Musepack file",
    b"ADIF": "an AAC file",
    b"FLV\x01": "a Flash video",
    b".RMF": "a RealAudio file",
    b".ra\xfd": "a RealAudio file",
    b"\x0b\x77": "an AC-3 file",
    b"DSD ": "a DSD file",
    b"Creative Voice File": "a Creative Voice file",
    b"ajkg": "a Shorten file",
    b"2BIT": "an AVR file",
}
_NO_AUDIO = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"MThd": "a MIDI file, which holds notes and no sound",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"BZh": "a bzip2 archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself with: git lfs pull",
}

_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)


def recognise(head: bytes) -> str | None:
    """Return the format of a file that begins with `head`, None where it is none that is read here.

    The bytes are those behind an ID3v2 tag.
    """
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return "WAV"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    found = next((name for magic, name in _AUDIO.items() if head.startswith(magic)), None)
    return found or ("MP3" if is_frame(head) else None)


def id3_length(head: bytes) -> int:
    """Return the bytes of an ID3v2 tag at the start of a file, 0 where there is none."""
    if not head.startswith(b"ID3") or len(head) < 10 or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 16 else 0)  # flag 4: a footer stands behind it


def describe_other(head: bytes) -> str:
    """Say what a file is that is none of the formats of `recognise`, and what to do about it.

    Nothing of a text is quoted: a link in somebody else's dataset may lead to any file.
    """
    if not head:
        return "is an empty file"
    for magic, name in _NO_AUDIO.items():
        if head.startswith(magic):
            return f"is no audio but {name}"
    known = next((name for magic, name in _CONVERTED.items() if head.startswith(magic)), None)
    if head[4:8] == b"ftyp":
        known = "an MPEG-4 file (M4A, MP4)"
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        known = "an AVI video"
    elif head[0] == 0xFF and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        known = "an AAC file"
    if known:
        return f"is {known}; convert it to WAV or FLAC"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "is no audio but a WebP image"
    if not any(head):
        return "begins with null bytes alone, like an incomplete download; copy it again"
    if _is_text(head):
        return f"is no audio but a {'web page' if _WEB_PAGE.match(head) else 'text'}"
    return "is no audio in a known format; convert it to WAV or FLAC"


def _is_text(head: bytes) -> bool:
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:  # the last character may be cut off
        return len(head) - error.start < 4 and error.reason == "unexpected end of data"
    return True
