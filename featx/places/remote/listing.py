"""The objects of a listing, in arrays: some hundred bytes each, and places that are made when asked for."""

from __future__ import annotations

import time
from array import array
from urllib.parse import unquote

from featx.places.made_on_demand import MadeOnDemand
from featx.places.remote.remote_file import RemoteFile
from featx.places.remote.state import State
from featx.places.urls import protocol_of


class ObjectListing(MadeOnDemand[tuple[str, RemoteFile]]):
    """The objects below a URL: the path of each below it, and its place, in the order in which they came.

    Parameters
    ----------
    root : str
        The URL of the folder, which ends in ``/``.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._is_quoted = protocol_of(root) in ("http", "https")
        self._names, self._ends = bytearray(), array("q")
        self._etags, self._etag_ends = bytearray(), array("q")
        self._sizes, self._changed = array("q"), array("q")
        self._seen = time.monotonic()

    def add(self, tail: str, state: State) -> None:
        """Add an object by what stands behind the root in its URL."""
        self._names += tail.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._names))
        self._etags += state.etag.encode("utf-8", "surrogateescape")
        self._etag_ends.append(len(self._etags))
        self._sizes.append(state.size)
        self._changed.append(state.changed)
        self._seen = time.monotonic()

    def __len__(self) -> int:
        return len(self._ends)

    def make(self, i: int) -> tuple[str, RemoteFile]:
        """Return the path and the place of object `i`."""
        tail = _part(self._names, self._ends, i)
        state = State(self._sizes[i], _part(self._etags, self._etag_ends, i), self._changed[i])
        seen = self._seen if state.is_known else 0.0
        return unquote(tail) if self._is_quoted else tail, RemoteFile(self.root + tail, state, seen)


def _part(data: bytearray, ends: array[int], i: int) -> str:
    return data[ends[i - 1] if i else 0 : ends[i]].decode("utf-8", "surrogateescape")
