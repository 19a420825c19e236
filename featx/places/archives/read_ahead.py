"""Read small pieces of a file that lie one behind the other, in few requests."""

from __future__ import annotations

from featx.places.place import PlaceError, RangeReader

# Bytes that are read at once of a file on this machine, and behind a network: the second where the pieces
# lie no further apart than _NEAR, so that passing over what is between them would cost more than reading it.
_LOCAL, _FAR, _NEARBY = 2**12, 2**16, 2**22
_NEAR = 2**20


class ReadAhead:
    """What was read last of a file, and reads on in larger blocks.

    Parameters
    ----------
    ranges : RangeReader
    """

    def __init__(self, ranges: RangeReader) -> None:
        self._ranges, self.size = ranges, ranges.size
        self._block, self._begin = b"", 0

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; `PlaceError` where there are fewer."""
        if start < self._begin or start + length > self._begin + len(self._block):
            if start + length > self.size:
                raise PlaceError(f"ends at byte {self.size}: it is cut off")
            ahead = _LOCAL
            if self._ranges.is_remote:
                jump = start - self._begin - len(self._block)
                ahead = _NEARBY if self._block and 0 <= jump <= _NEAR else _FAR
            self._begin = start
            self._block = self._ranges.read_range(start, min(max(length, ahead), self.size - start))
        at = start - self._begin
        return self._block[at : at + length]
