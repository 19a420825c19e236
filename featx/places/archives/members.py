"""Members of archives as places: ranges of one file, which are read where they lie."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from dataclasses import dataclass, field

from featx.places.place import PlaceError, RangeReader, StatKey

#: The names of the ways in which a zip compresses a member; those of `_UNPACKED` can be read.
METHODS = {
    0: "stored", 1: "shrink", 2: "reduce", 3: "reduce", 4: "reduce", 5: "reduce", 6: "implode",
    8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 20: "zstd", 93: "zstd", 94: "mp3", 95: "xz",
    96: "jpeg", 97: "wavpack", 98: "ppmd", 99: "encrypted (AES)",
}  # fmt: skip
_DEFLATE = 8
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
# Bytes that are read with a member in case that its header is longer than the directory says.
_SPARE = 64
# Compressed bytes of which the first ones of a content are made.
_START = 1024
# Most bytes of a member that are read for its first ones, where it must be read as a whole.
_MOST_FOR_START = 2**28


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member of an archive that is stored as it is, as in a tar (`featx.places.Place`).

    Attributes
    ----------
    ranges : RangeReader
        The archive, one object for all its members.
    key : tuple or None
        The stat key that the archive had when its members were listed.
    path : str
        The member's name in the archive.
    offset, length : int
        Where its bytes begin in the archive, and how many there are.
    """

    ranges: RangeReader
    key: StatKey | None = field(repr=False)
    path: str
    offset: int
    length: int

    @property
    def name(self) -> str:
        """The archive and the member."""
        return f"{self.ranges.name}: {self.path}"

    @property
    def is_remote(self) -> bool:
        """Whether the archive lies behind a network."""
        return self.ranges.is_remote

    def read(self, at_most: int) -> bytes:
        """Return its bytes; `PlaceError` where they cannot be read or are more than `at_most`."""
        _check_size(self.length, at_most)
        return self.ranges.read_range(self.offset, self.length)

    def read_start(self, most: int) -> bytes:
        """Return its first bytes, at most `most`; `PlaceError` where they cannot be read."""
        return self.ranges.read_range(self.offset, min(most, self.length))

    def stat_key(self) -> StatKey | None:
        """Return the archive's state, with a null byte and where the member lies behind its path.

        None where the archive has changed since its members were listed.
        """
        key = self.ranges.stat_key()
        if key is None or key != self.key:
            return None
        return f"{key[0]}\0{self.offset}:{self.length}", *key[1:]


@dataclass(frozen=True, slots=True)
class ZipMember(ArchiveMember):
    """A member of a zip, which may be compressed, and whose bytes have a checksum.

    Attributes
    ----------
    offset : int
        Where its local header begins.
    length : int
        Compressed bytes.
    size : int
        Bytes of its content.
    method : int
        How it is compressed, as in `METHODS`.
    crc : int
        CRC-32 of its content.
    """

    size: int
    method: int
    crc: int

    def read(self, at_most: int) -> bytes:
        """Return its content; `PlaceError` as of any place, and where it is damaged."""
        _check_size(self.size, at_most)
        # Nothing that compresses makes much more of what it is given.
        _check_size(self.length, at_most + at_most // 8 + 2**16)
        data = self._stored(self.length)
        if self.method != 0:
            data = _unpack(data, self.method, self.size)
        if len(data) != self.size:
            raise PlaceError(f"damaged: {len(data)} bytes, where its archive says {self.size}")
        if zlib.crc32(data) != self.crc:
            raise PlaceError("damaged: its checksum (CRC-32) is wrong")
        return bytes(data)

    def read_start(self, most: int) -> bytes:
        """Return the first bytes of its content; they are not checked."""
        if self.method == 0:
            return bytes(self._stored(min(most, self.length)))
        if self.method != _DEFLATE:
            _check_size(self.length, _MOST_FOR_START)
            return _unpack(self._stored(self.length), self.method, most, whole=False)
        data = self._stored(min(most + _START, self.length))
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
        except zlib.error as error:
            raise PlaceError(f"damaged: its deflate data is broken ({error})") from error

    def _stored(self, length: int) -> memoryview | bytes:
        """Return the first bytes behind the local header, whose length only the header itself says."""
        guess = _LOCAL.size + len(self.path.encode("utf-8", "surrogateescape")) + _SPARE + length
        data = self.ranges.read_range(self.offset, min(guess, self.ranges.size - self.offset))
        if len(data) < _LOCAL.size or not data.startswith(b"PK\3\4"):
            raise PlaceError(f"damaged: no header of a member at byte {self.offset}")
        fields = _LOCAL.unpack_from(data)
        if fields[3] != self.method:
            raise PlaceError(f"damaged: the header at byte {self.offset} contradicts the directory")
        begin = _LOCAL.size + fields[9] + fields[10]
        end = begin + length
        if end <= len(data):
            return data[begin:end] if self.method == 0 else memoryview(data)[begin:end]
        return self.ranges.read_range(self.offset + begin, length)


@dataclass(frozen=True, slots=True)
class LostMember:
    """A member that cannot be read, and why; it fails when it is read, as others do."""

    name: str
    reason: str
    is_remote = False

    def read(self, at_most: int) -> bytes:
        """Raise `PlaceError` with the reason."""
        raise PlaceError(self.reason)

    read_start = read

    def stat_key(self) -> None:
        """Return None: there is nothing whose state could be known."""
        return None


def _check_size(size: int, at_most: int) -> None:
    if size > at_most:
        raise PlaceError(f"{size:,} bytes, expected at most {at_most:,}")


def _unpack(data: memoryview | bytes, method: int, size: int, *, whole: bool = True) -> bytes:
    """Return the content of a compressed member, of which no more than `size` bytes and one are unpacked.

    Only its first bytes are wanted, at most `size`, unless `whole`.
    """
    try:
        unpacked = _UNPACKED[method](data, size)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, struct.error) as error:
        raise PlaceError(f"damaged: its {METHODS[method]} data is broken ({error})") from error
    if not whole:
        return unpacked[:size]
    if len(unpacked) > size:
        raise PlaceError(f"damaged: it unpacks to more than the {size} bytes that its archive says")
    return unpacked


def _inflate(data: memoryview | bytes, size: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)


def _unpack_bzip2(data: memoryview | bytes, size: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, size + 1)


def _unpack_lzma(data: memoryview | bytes, size: int) -> bytes:
    # Two bytes of version, the length of the properties, and these: lc + 9 (lp + 5 pb), size of the window.
    _, length, packed, window = struct.unpack_from("<HHBI", data)
    if length != 5 or packed >= 225:
        raise ValueError("unknown properties")
    pb, rest = divmod(packed, 45)
    lp, lc = divmod(rest, 9)
    # A window larger than the content is never used, and might not fit into memory.
    window = min(window, max(size, 4096))
    filters = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": window}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(data[9:], size + 1)


_UNPACKED = {_DEFLATE: _inflate, 12: _unpack_bzip2, 14: _unpack_lzma}


def why_unreadable(method: int) -> str:
    """Say why a member that is compressed in this way cannot be read; ``""`` if it can."""
    if method == 0 or method in _UNPACKED:
        return ""
    known = METHODS.get(method, f"method {method}")
    return f"compressed with {known}, which is not read; pack it again, as with zip -0 or Python's zipfile"
