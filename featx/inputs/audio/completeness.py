"""Find files that break off or are damaged, by what their headers promise; libsndfile reads most of them.

A header that was written before the length was known, as of a stream into a pipe, promises nothing.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from featx.errors import AudioError
from featx.inputs.audio.mpeg import promise_of

#: 32-bit lengths from here on stand for an unknown one: programs write 2**31 - 65536, 2**31, 2**32 - 1, ...
_UNKNOWN = 0x7FFF0000
#: Most chunks that are looked through.
_MOST_CHUNKS = 1000
#: Most channels that libsndfile reads.
MOST_CHANNELS = 1024
#: Lowest and highest rate of audio, in hertz.
RATES = (100, 1_000_000)
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Promise:
    """What a header says of the samples behind it.

    Attributes
    ----------
    counts : bool
        Whether it gives their number, so that reading fewer means that the file breaks off.
    open_length : int or None
        Where the header of a recording that was not closed has the length 0, for which libsndfile reads no
        samples. Four bytes of 255 there stand for an unknown length.
    """

    counts: bool = True
    open_length: int | None = None


def check_complete(file: BinaryIO, form: str, begin: int, size: int, id: str) -> Promise:
    """Raise `AudioError` where a file of `size` bytes holds less than its header promises.

    `form` is the format of the file, and `begin` where it begins, behind a tag.
    """
    if form in ("WAV", "RF64", "AIFF", "W64", "CAF"):
        return Promise(open_length=_check_chunks(file, form, size, id))
    if form == "AU":
        _check_au(file, size, id)
    elif form == "NIST":
        _check_nist(file, size, id)
    elif form == "OGG":
        _check_ogg(file, size, id)
    elif form == "MP3":
        return Promise(counts=_check_mp3(file, begin, size, id))
    return Promise()


def check_header(rate: int, channels: int, id: str) -> None:
    """Raise `AudioError` for a rate or number of channels that no recording has."""
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            id, f"its header states {rate:,} Hz, expected {RATES[0]} to {RATES[1]:,}; the file is damaged"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(
            id,
            f"its header states {channels:,} channels, expected 1 to {MOST_CHANNELS:,}; the file is damaged",
        )


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _truncated(form: str, promised: int, there: int, id: str) -> AudioError:
    return AudioError(
        id,
        f"a truncated {form} file: its header promises {promised:,} bytes of sound, {max(0, there):,} are "
        "there; copy it again",
    )


def _check_chunks(file: BinaryIO, form: str, size: int, id: str) -> int | None:
    """Check WAV, RF64, AIFF, W64 and CAF, which consist of chunks with a name and a length.

    Return where a length of 0 stands instead of the true one.
    """
    order = "<" if _read(file, 0, 4) in (b"RIFF", b"RF64", b"riff") else ">"
    real = None  # what `ds64` of RF64 states
    for name, at, length in _chunks(file, form, order, size):
        if name == b"fmt " and form != "CAF":
            if len(head := _read(file, at, 8)) == 8:
                _, channels, rate = struct.unpack(f"{order}HHI", head)
                check_header(rate, channels, id)
        elif name == b"desc" and len(head := _read(file, at, 28)) == 28:
            rate, channels = struct.unpack(">d16xI", head)
            check_header(int(rate) if abs(rate) < 2**63 else 0, channels, id)
        elif name == b"ds64":
            real = struct.unpack("<Q", _read(file, at + 8, 8).ljust(8, b"\0"))[0]
        elif name in (b"data", b"SSND"):
            is_open = _check_samples(file, form, order, length if real is None else real, size - at, id)
            return at - 4 if is_open else None
    raise AudioError(id, f"a truncated or damaged {form} file: it has no chunk of samples; copy it again")


def _check_samples(file: BinaryIO, form: str, order: str, length: int, there: int, id: str) -> bool:
    """Check the length of the chunk of samples; return whether 0 stands instead of the true one."""
    wide = form in ("W64", "CAF", "RF64")
    if length == 0:
        # Left open, the size of the whole is no true one either.
        whole = struct.unpack(f"{order}I", _read(file, 4, 4))[0]
        if there <= 0 or wide or 0 < whole < _UNKNOWN:
            raise AudioError(id, "holds no samples")
        return True
    if length < 0 or (not wide and length >= _UNKNOWN):  # -1: unknown, in CAF
        if there <= 0:
            raise AudioError(id, "holds no samples")
    elif length > there:
        raise _truncated(form, length, there, id)
    return False


def _chunks(file: BinaryIO, form: str, order: str, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and length of the contents of each chunk."""
    at = {"W64": 40, "CAF": 8}.get(form, 12)
    head = {"W64": 24, "CAF": 12}.get(form, 8)
    for _ in range(_MOST_CHUNKS):
        if len(data := _read(file, at, head)) < head:
            return
        name = data[:4]
        if form == "W64":
            length = struct.unpack("<Q", data[16:])[0] - 24
            step = -(-(length + 24) // 8) * 8
        elif form == "CAF":
            length = struct.unpack(">q", data[4:])[0]
            step = length + 12
        else:
            length = struct.unpack(f"{order}I", data[4:])[0]
            step = 8 + length + length % 2
        yield name, at + head, length
        if step < head or at + step >= size:
            return
        at += step


def _check_au(file: BinaryIO, size: int, id: str) -> None:
    data = _read(file, 0, 24)
    if len(data) < 24:
        raise AudioError(id, "a truncated AU file: its header breaks off; copy it again")
    order = ">" if data[:4] == b".snd" else "<"
    begin, length, _, rate, channels = struct.unpack(f"{order}5I", data[4:])
    check_header(rate, channels, id)
    if length < _UNKNOWN and begin + length > size:
        raise _truncated("AU", length, size - begin, id)


def _check_nist(file: BinaryIO, size: int, id: str) -> None:
    head = _read(file, 0, 1024)

    def number(name: bytes) -> int:
        found = re.search(rb"\n" + name + rb" -i (\d{1,12})\s", head)
        return int(found[1]) if found else 0

    coded = re.search(rb"\nsample_coding -s\d+ (\S+)", head)
    if coded and coded[1] not in (b"pcm", b"ulaw", b"alaw", b"mu-law"):
        raise AudioError(id, "is a compressed NIST SPHERE file; convert it to WAV or FLAC")
    if size < 1024:
        raise AudioError(id, "a truncated NIST SPHERE file: its header breaks off; copy it again")
    length = number(b"sample_count") * number(b"channel_count") * number(b"sample_n_bytes")
    if length > size - 1024:
        raise _truncated("NIST SPHERE", length, size - 1024, id)


def _check_ogg(file: BinaryIO, size: int, id: str) -> None:
    """Check each page of an Ogg file (RFC 3533): its checksum, and that the last one says so."""
    at, ended = 0, False
    file.seek(0)
    while at < size:
        head = file.read(27)
        if head[:4] != b"OggS" and ended:
            return  # a tag stands behind the sound
        if len(head) == 27 and head[:4] != b"OggS":
            raise AudioError(id, f"a damaged Ogg file: no page begins at byte {at:,}; copy it again")
        laces = file.read(head[26]) if len(head) == 27 else b""
        data = file.read(sum(laces))
        if len(head) < 27 or len(laces) < head[26] or len(data) < sum(laces):
            raise AudioError(id, f"a truncated Ogg file: it breaks off after {size:,} bytes; copy it again")
        if (
            _ogg_checksum(head[:22] + bytes(4) + head[26:] + laces + data)
            != struct.unpack("<I", head[22:26])[0]
        ):
            raise AudioError(id, f"a damaged Ogg file: the page at byte {at:,} has changed; copy it again")
        ended = bool(head[5] & 4)
        at += 27 + len(laces) + len(data)
    if not ended:
        raise AudioError(id, "a truncated Ogg file: its last page is missing; copy it again")


def _ogg_checksum(page: bytes) -> int:
    """Return the CRC of a page: polynomial 0x04C11DB7, from 0, highest bit first.

    zlib has the same polynomial with the lowest bit first, and inverts before and after.
    """
    mirrored = zlib.crc32(page.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_BITS_REVERSED), "big")


def _check_mp3(file: BinaryIO, begin: int, size: int, id: str) -> bool:
    """Check what the first frame promises; return whether it states the number of frames."""
    promised, frames = promise_of(_read(file, begin, 256))
    there = size - begin - (128 if size >= 128 and _read(file, size - 128, 3) == b"TAG" else 0)
    if promised > there:
        raise _truncated("MP3", promised, there, id)
    return frames > 0
