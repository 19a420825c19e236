"""Frames of MPEG audio, Layer III (MP3): what the first one promises, and how many there are.

libsndfile trusts a Xing, Info or VBRI header for the number of frames. Without one it guesses it by the first
frame, and reads no further, so that a file of varying bit rate without a header would lose its end.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

#: Kilobits per second by the index in a header of Layer III, of MPEG 1, and of MPEG 2 and 2.5.
_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = (44100, 48000, 32000)
_LAYER_3 = 1
_MPEG_1 = 3


def is_frame(head: bytes) -> bool:
    """Whether the bytes begin with the header of a frame of MPEG audio (layers I to III; AAC has layer 0)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer != 0 and head[2] >> 4 not in (0, 15) and head[2] >> 2 & 3 != 3


def promise_of(frame: bytes) -> tuple[int, int]:
    """Return the bytes and the frames that the first frame of a file promises, 0 where it does not."""
    frame = frame.ljust(256, b"\0")
    at = 4 + _side_bytes(frame)
    if frame[at : at + 4] in (b"Xing", b"Info"):
        flags, *values = struct.unpack(">I2I", frame[at + 4 : at + 16])
        return values[flags & 1] if flags & 2 else 0, values[0] if flags & 1 else 0
    if frame[36:40] == b"VBRI":
        promised, frames = struct.unpack(">2I", frame[46:54])
        return promised, frames
    return 0, 0


def lengthened(file: BinaryIO, begin: int, frames: int) -> bytes | None:
    """Return the file behind a tag that makes libsndfile read it to the end; None where that is not needed.

    `frames` is how many samples of each channel libsndfile expects: the bytes of the whole file, with its
    tags, by those of the first frame, which is at `begin`. A header with the true number in front of it would
    move the samples by the delay of a decoder.
    """
    file.seek(begin)
    data = file.read()
    if not is_frame(data) or data[1] >> 1 & 3 != _LAYER_3:
        return None
    samples = 1152 if data[1] >> 3 & 3 == _MPEG_1 else 576
    count, length = _count(data), _length(data, 0)
    if count * samples <= frames or not length:
        return None
    size = min(max(0, (count + 4) * length - len(data)), 2**28 - 1)
    return b"ID3\3\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(size) + data


def _side_bytes(frame: bytes) -> int:
    mono = frame[3] >> 6 == 3
    return (17 if mono else 32) if frame[1] >> 3 & 3 == _MPEG_1 else (9 if mono else 17)


def _length(data: bytes, at: int) -> int:
    """Return the bytes of the frame of Layer III whose header begins at `at`."""
    version = data[at + 1] >> 3 & 3
    first = version == _MPEG_1
    rate = _RATES[data[at + 2] >> 2 & 3] // {3: 1, 2: 2, 0: 4}[version]
    return (144 if first else 72) * 1000 * _KBITS[not first][data[at + 2] >> 4] // rate + (
        data[at + 2] >> 1 & 1
    )


def _count(data: bytes) -> int:
    """Return how many frames of the kind of the first one follow one another; others are passed over."""
    kind, rate, at, count = data[1] | 1, data[2] & 12, 0, 0
    while 0 <= at < len(data) - 4:
        if (
            data[at] == 255
            and data[at + 1] | 1 == kind
            and data[at + 2] & 12 == rate
            and is_frame(data[at : at + 4])
        ):
            at += _length(data, at)
            count += at <= len(data)
        else:
            at = data.find(b"\xff", at + 1)
    return count
