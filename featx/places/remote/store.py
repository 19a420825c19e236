"""What all remote stores have in common: read, look at, and list objects, with retries and named failures."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from featx.places.place import PlaceError
from featx.places.remote.event_loop import run_here, wait_for
from featx.places.remote.retries import Passing, Retries
from featx.places.remote.state import State

if TYPE_CHECKING:
    from featx.places.remote.listing import ObjectListing

_T = TypeVar("_T")

#: Seconds without a byte after which a request is given up, and tried again; and those to connect.
STALLED = 30.0
CONNECT = 15.0
#: Requests under way at a time where many are made at once.
AT_ONCE = 64
#: Threads for those of a file system that is not asynchronous.
THREADS = 16
#: Answers that may be another one a little later.
PASSING = frozenset([408, 425, 429, 500, 502, 503, 504])

# Errors of aiohttp and botocore that mean a connection that was not made, or ended early.
_DROPPED = frozenset(
    [
        "BadHttpMessage",
        "BadStatusLine",
        "ClientConnectorError",
        "ClientOSError",
        "ClientPayloadError",
        "ClientResponseError",
        "ConnectionClosedError",
        "EndpointConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ProxyConnectionError",
        "ResponseStreamingError",
        "ServerDisconnectedError",
    ]
)

#: How requests are repeated.
RETRIES = Retries()


class Fetched(NamedTuple):
    """Bytes of an object, and the state that came with them."""

    data: bytes
    state: State
    is_whole: bool  # also where a range was asked for


class TooLarge(PlaceError):
    """The object has more bytes than may be read."""

    def __init__(self, size: int, at_most: int) -> None:
        has = f"{size:,}" if size >= 0 else "more"
        super().__init__(f"has {has} bytes, expected at most {at_most:,}")


class Store:
    """Reads objects of one protocol with one set of options, through a file system of fsspec.

    The methods that begin with an underscore are coroutines of each kind of store; they raise `Passing`,
    `PlaceError` or what their library raises.
    """

    is_remote = True

    def __init__(self, filesystem: Any, retries: Retries | None = None) -> None:
        self.fs = filesystem
        self._retries = retries

    @property
    def retries(self) -> Retries:
        """How requests are repeated."""
        return RETRIES if self._retries is None else self._retries

    def fetch(
        self, url: str, start: int | None, length: int | None, at_most: int, expected: State | None
    ) -> Fetched:
        """Return the bytes of an object, or those of a range; `PlaceError` after several tries.

        With `expected`, `Changed` where the object has another state now.
        """
        return self._again(lambda: self._fetch(url, start, length, at_most, expected))

    def look(self, url: str) -> State:
        """Return the state of an object now, without its bytes."""
        return self._again(lambda: self._look(url))

    def look_at_all(self, urls: Sequence[str]) -> list[State | None]:
        """Return the states of several objects, many requests at a time; None where one fails."""
        found: list[State | None] = [None] * len(urls)
        numbers: Iterator[int] = iter(range(len(urls)))

        async def look() -> list[State | None]:
            async def work() -> None:
                for i in numbers:
                    try:
                        found[i] = await self._look(urls[i])
                    except Exception:  # it is named when the object is read
                        continue

            await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(urls)))))
            return found

        if self.fs.async_impl:
            return wait_for(look())

        def look_here(url: str) -> State | None:
            try:
                return run_here(self._look(url))
            except Exception:  # it is named when the object is read
                return None

        with ThreadPoolExecutor(min(THREADS, max(1, len(urls)))) as threads:
            return list(threads.map(look_here, urls))

    def list_all(self, url: str) -> ObjectListing:
        """Return all objects at and below a URL."""
        return self._again(lambda: self._list(url))

    def is_folder(self, url: str) -> bool:
        """Whether there is something below the URL, and no object at it."""
        return self._again(lambda: self._is_folder(url))

    def _again(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        def attempt() -> _T:
            try:
                return wait_for(make()) if self.fs.async_impl else run_here(make())
            except (PlaceError, Passing):
                raise
            except Exception as error:  # each library has its own
                # Not chained: messages of libraries quote whole URLs.
                raise self.explain(error) from None

        return self.retries.run(attempt)

    async def _patiently(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return the result of one request of many, which is tried again by itself."""
        for number in range(1, self.retries.tries + 1):
            try:
                return await make()
            except (PlaceError, Passing) as error:
                failure = error
            except Exception as error:  # each library has its own
                failure = self.explain(error)
            if isinstance(failure, PlaceError):
                raise failure from None
            if number == self.retries.tries:
                # No `Passing`: what calls this would try all of it again.
                raise self.retries.give_up(failure) from None
            pause = self.retries.pause(number, failure.after)
            await asyncio.sleep(0 if self.retries.sleep else pause)
        raise AssertionError("unreachable")

    def explain(self, error: Exception) -> PlaceError | Passing:
        """Return the failure that an error of a library means."""
        return explain_connection(error) or PlaceError(f"cannot be read ({type(error).__name__})")

    async def _fetch(
        self, url: str, start: int | None, length: int | None, at_most: int, expected: State | None
    ) -> Fetched:
        raise NotImplementedError

    async def _look(self, url: str) -> State:
        raise NotImplementedError

    async def _list(self, url: str) -> ObjectListing:
        raise NotImplementedError

    async def _is_folder(self, url: str) -> bool:
        raise NotImplementedError


def explain_connection(error: BaseException) -> PlaceError | Passing | None:
    """Return the failure that an error of a connection means; None for any other error."""
    chain = _causes(error)
    for one in chain:
        if isinstance(one, socket.gaierror):
            if one.errno == socket.EAI_AGAIN:
                return Passing("its host name cannot be resolved now")
            return PlaceError("cannot be reached (no such host; is the name right, is there a network?)")
        if "Certificate" in type(one).__name__:
            return PlaceError("cannot be read (the server's certificate is not trusted)")
        if getattr(one, "errno", None) == errno.ECONNREFUSED:
            return Passing("connection refused: no server listens at this host and port")
    for one in chain:
        name = type(one).__name__
        if isinstance(one, (asyncio.TimeoutError, TimeoutError)) or "Timeout" in name:
            return Passing("no answer in time")
        if isinstance(one, (ConnectionError, EOFError)) or name in _DROPPED:
            return Passing("the connection was dropped")
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and those that it comes from, also as aiohttp and botocore keep them."""
    found: list[BaseException] = []
    one: Any = error
    while isinstance(one, BaseException) and one not in found and len(found) < 8:
        found.append(one)
        kept = getattr(one, "kwargs", None)
        kept = kept.get("error") if isinstance(kept, dict) else None
        one = getattr(one, "os_error", None) or kept or one.__cause__ or one.__context__
    return found


def explain_status(status: int, retry_after: str | None = None) -> PlaceError | Passing:
    """Return the failure that the status of an answer means."""
    if status in PASSING:
        return Passing(
            f"the server answers {status} {_WORDS.get(status, '')}".rstrip(), _seconds(retry_after)
        )
    if status in (404, 410):
        return PlaceError(f"no such object ({status})")
    if status == 401:
        return PlaceError("needs credentials (401)")
    if status == 403:
        return PlaceError("access denied (403: no permission, or credentials that have expired)")
    return PlaceError(f"cannot be read (the server answers {status})")


_WORDS = {
    429: "too many requests",
    500: "internal error",
    502: "bad gateway",
    503: "unavailable",
    504: "gateway timeout",
}


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a ``Retry-After``: a number, or a date; None for anything else."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
