"""An object behind a URL: the place of one input, and a file of which ranges are read."""

from __future__ import annotations

import threading
import time
from typing import Any

from featx.forks import fresh_in_child
from featx.places.place import PlaceError, StatKey
from featx.places.remote.opening import open_store
from featx.places.remote.state import Changed, State
from featx.places.urls import HERE, hides_more_than_a_signature, protocol_of, shown

#: A file that is read by ranges, of a server that gives no ranges, is kept in memory up to this size.
WHOLE_BYTES = 256 * 2**20

_lock = fresh_in_child(threading.Lock())
_NOTHING = State()


class RemoteFile:
    """An object behind a URL (`Place` and `RangeReader`).

    Its state (size, ETag, or time of change) is that of the listing, of the last `look`, or of the first time
    it was read. Read as a whole, other bytes than those of that state are given too, but have no stat key
    then; ranges are given of that state only.

    Parameters
    ----------
    url : str
        With user, password or signature where it has one; `name` is without.
    state : State, optional
        From a listing.
    """

    __slots__ = ("_is_unsettled", "_seen", "_state", "_whole", "url")

    def __init__(self, url: str, state: State = _NOTHING, seen: float | None = None) -> None:
        self.url, self._state = url, state
        self._seen = seen if seen is not None else time.monotonic() if state.is_known else 0.0
        self._is_unsettled = False
        self._whole: bytes | None = None

    @property
    def name(self) -> str:
        """The URL without credentials."""
        return shown(self.url)

    @property
    def is_remote(self) -> bool:
        """Whether it lies behind a network."""
        return protocol_of(self.url) not in HERE

    @property
    def size(self) -> int:
        """Its bytes; `PlaceError` where it cannot be reached."""
        if self._state.size < 0:
            self._settle(open_store(self.url).look(self.url), strict=True)
        if self._state.size < 0:
            raise PlaceError("its size is not known: the server does not say how long it is")
        return self._state.size

    def read(self, at_most: int) -> bytes:
        """Return its bytes; `PlaceError` after several tries, or where there are more than `at_most`."""
        store, expected = open_store(self.url), self._expected
        try:
            fetched = store.fetch(self.url, None, None, at_most, expected)
        except Changed:
            if expected is None:  # while it was read
                raise
            with _lock:
                self._is_unsettled = True
            fetched = store.fetch(self.url, None, None, at_most, None)
        self._settle(fetched.state, strict=False)
        return fetched.data

    def read_range(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; `PlaceError` where there are fewer, or where it has changed."""
        if self._whole is None:
            store = open_store(self.url)
            fetched = store.fetch(self.url, start, length, max(length, WHOLE_BYTES), self._expected)
            self._settle(fetched.state, strict=True)
            if not fetched.is_whole:
                return _all_of(fetched.data, length)
            self._whole = fetched.data
        return _all_of(self._whole[start : start + length], length)

    def stat_key(self) -> StatKey | None:
        """Return (URL and ETag, size, time of change or 0, 0) as last seen; None where nothing is known.

        No request is made: see `look_at`.
        """
        state = self._state
        if self._is_unsettled or not state.is_known:
            return None
        if state.etag:
            return f"{self.name}\0{state.etag}", state.size, 0, 0
        return None if hides_more_than_a_signature(self.url) else (self.name, state.size, state.changed, 0)

    def age(self) -> float:
        """Return the seconds since its state was seen; infinite where none is known."""
        known = self._state.is_known and not self._is_unsettled
        return time.monotonic() - self._seen if known else float("inf")

    def refresh(self, state: State, began: float) -> None:
        """Take a state that was asked for at `began` (`time.monotonic`), unless it was read since then."""
        with _lock:
            if self._seen <= began:
                self._state, self._seen, self._is_unsettled, self._whole = state, began, False, None

    @property
    def _expected(self) -> State | None:
        return None if self._is_unsettled or self._state is _NOTHING else self._state

    def _settle(self, state: State, *, strict: bool) -> None:
        """Note the state of bytes that were read; where another is known, raise `Changed`, or know none."""
        with _lock:
            known = self._state
            if not known.agrees(state):
                if strict:
                    raise Changed
                self._is_unsettled = True
                return
            self._seen = time.monotonic()
            # What a listing does not say, the answer may.
            self._state = State(
                state.size if known.size < 0 else known.size,
                known.etag or state.etag,
                known.changed or state.changed,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFile, (self.url, self._state, 0.0)

    def __repr__(self) -> str:
        return f"RemoteFile({self.name!r})"


def _all_of(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise PlaceError(f"ends {length - len(data)} bytes early: it is cut off, or was changed")
    return data
