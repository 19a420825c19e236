"""The members of an archive, in arrays: some tens of bytes each, and places that are made when asked for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import numpy as np

from featx.places.archives.members import ArchiveMember, LostMember, ZipMember
from featx.places.made_on_demand import MadeOnDemand
from featx.places.place import Place, RangeReader, StatKey

#: A member of an archive: its name and its place; None for a folder, whose name ends in ``/``.
Entry = tuple[str, Place | None]


class ArchiveIndex(MadeOnDemand[Entry]):
    """The members of an archive, a sequence of names and places.

    Parameters
    ----------
    ranges : RangeReader
        The archive.

    Attributes
    ----------
    failures : list of (str, str)
        Members that are left out, by name, and why; the name is empty where it is the archive that is
        damaged.
    """

    def __init__(self, ranges: RangeReader) -> None:
        self.ranges = ranges
        self.key: StatKey | None = ranges.stat_key()
        self.failures: list[tuple[str, str]] = []
        self.lost: dict[int, str] = {}  # members that fail when they are read, and why
        self.hidden: set[int] = set()  # members that are not part of it, with an empty name and no place
        self._names = bytearray()
        self._ends = array("q")
        self._offsets, self._lengths = array("q"), array("q")
        # Only in a zip.
        self._sizes, self._methods, self._crcs = array("q"), array("H"), array("I")

    def append(self, name: bytes, offset: int, length: int) -> None:
        """Add a member of a tar; the name is UTF-8, or escaped by ``surrogateescape``."""
        self._names += name
        self._ends.append(len(self._names))
        self._offsets.append(offset)
        self._lengths.append(length)

    def append_zipped(self, name: bytes, offset: int, length: int, size: int, method: int, crc: int) -> None:
        """Add a member of a zip."""
        self.append(name, offset, length)
        self._sizes.append(size)
        self._methods.append(method)
        self._crcs.append(crc)

    @property
    def is_zip(self) -> bool:
        """Whether its members may be compressed; False without any."""
        return bool(self._sizes)

    def __len__(self) -> int:
        return len(self._ends)

    def name_at(self, i: int) -> bytes:
        """Return the name of member `i`, undecoded."""
        return b"" if i in self.hidden else bytes(self._names[self._ends[i - 1] if i else 0 : self._ends[i]])

    def paths(self) -> Iterator[str]:
        """Return the names, without making the places."""
        return (self.name_at(i).decode("utf-8", "surrogateescape") for i in range(len(self)))

    def make(self, i: int) -> Entry:
        """Return the name and the place of member `i`."""
        name = self.name_at(i).decode("utf-8", "surrogateescape")
        if i in self.lost:
            return name, LostMember(f"{self.ranges.name}: {name}", self.lost[i])
        if name.endswith("/") or i in self.hidden:
            return name, None
        where = self.ranges, self.key, name, self._offsets[i], self._lengths[i]
        if not self.is_zip:
            return name, ArchiveMember(*where)
        return name, ZipMember(*where, self._sizes[i], self._methods[i], self._crcs[i])

    @property
    def ranges_taken(self) -> np.ndarray:
        """Offset and length of each member (n, 2), int64."""
        return np.stack([np.frombuffer(column, np.int64) for column in (self._offsets, self._lengths)], 1)

    def point(self, i: int, to: int) -> None:
        """Give member `i`, which is a link, the bytes of member `to`."""
        self._offsets[i], self._lengths[i] = self._offsets[to], self._lengths[to]

    def hide_repeated(self) -> None:
        """Move every further member of a name to the `failures`; its own name is then empty."""
        hashes = np.fromiter((hash(self.name_at(i)) for i in range(len(self))), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        alike = np.flatnonzero(np.diff(hashes[order]) == 0)
        seen: dict[bytes, int] = {}
        for i in np.unique(np.concatenate([order[alike], order[alike + 1]])).tolist():
            name = self.name_at(i)
            # A folder may be listed several times.
            if seen.setdefault(name, i) != i and not name.endswith(b"/"):
                self.hidden.add(i)
                self.failures.append((name.decode("utf-8", "surrogateescape"), "the archive has it twice"))


#: Called with the number and name of each member while a tar is indexed, and with what reads its bytes.
Visitor = Callable[[int, bytes, int, Callable[[], bytes]], None]
