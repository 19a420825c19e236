"""Objects of HTTP servers: checked against their ETag, length and range, and listed by the links of pages."""

from __future__ import annotations

import asyncio
import email.utils
import functools
import hashlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin

from featx.places.place import PlaceError
from featx.places.remote import store
from featx.places.remote.retries import Passing
from featx.places.remote.state import Changed, State
from featx.places.remote.store import (
    Fetched,
    Store,
    TooLarge,
    explain_connection,
    explain_status,
)
from featx.places.urls import is_of_machine, protocol_of, split

if TYPE_CHECKING:
    from featx.places.remote.listing import ObjectListing

# A file that changes again within this time keeps its Last-Modified, which has whole seconds.
_RACY = 2.0
_MOST_OF_PAGE = 64 * 2**20
# Pages of one listing, and folders in folders: a server may make them up without end.
_MOST_PAGES, _DEEPEST = 100_000, 64
# Bytes a second of a body that are too few to wait for.
_SLOWEST = 256
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_LONGEST_ETAG = 256
_NO_LISTING = (
    "gives no listing of files; give a .zip or .tar archive, a table (.csv, .jsonl, .parquet) with the URLs, "
    "or a list of URLs in Python"
)


class HttpStore(Store):
    """Objects of HTTP servers, over the pooled connections of one session of aiohttp."""

    @asynccontextmanager
    async def _request(self, method: str, url: str, **headers: str) -> AsyncIterator[Any]:
        import aiohttp

        session = await self.fs.set_session()
        # Compressed in transit, neither length nor range would be that of the object.
        sent = {"Accept-Encoding": "identity", **self.fs.kwargs.get("headers", {}), **headers}
        limits = aiohttp.ClientTimeout(None, sock_connect=store.CONNECT, sock_read=store.STALLED)
        options = {"timeout": limits, **self.fs.kwargs, "headers": sent}
        # A server may send redirections, interim answers or a header byte by byte without end.
        request = session.request(method, self.fs.encode_url(url), **options)
        async with await asyncio.wait_for(request, store.CONNECT + 4 * store.STALLED) as answer:
            yield answer

    async def _fetch(
        self, url: str, start: int | None, length: int | None, at_most: int, expected: State | None
    ) -> Fetched:
        headers = {}
        if start is not None and length is not None:
            if length == 0:
                return Fetched(b"", expected or State(), False)
            headers["Range"] = f"bytes={start}-{start + length - 1}"
        async with self._request("GET", url, **headers) as answer:
            if answer.status == 416:
                raise PlaceError("ends early: it is cut off, or was changed")
            if answer.status not in (200, 206):
                raise explain_status(answer.status, answer.headers.get("Retry-After"))
            state, due = _state_of(answer), _length_of(answer)
            is_whole = answer.status == 200
            if not is_whole:
                given = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if start is None or given is None or int(given[1]) != start:
                    raise PlaceError("cannot be read (the server answers another range)")
            if expected is not None and not expected.agrees(state):
                raise Changed
            if is_whole and start is not None and due > at_most:
                raise PlaceError(f"the server gives no ranges of it, and it has {due:,} bytes: download it")
            if not is_whole:
                at_most = length or 0
            if due > at_most:
                raise TooLarge(due, at_most)
            data = await _body(answer, at_most)
        if 0 <= due != len(data):
            raise Passing(f"{len(data):,} of {due:,} bytes came")
        if is_whole and state.size < 0:
            state = state._replace(size=len(data))
        return Fetched(data, state, is_whole)

    async def _look(self, url: str) -> State:
        async with self._request("HEAD", url) as answer:
            if answer.status == 200 and (state := _state_of(answer)).size >= 0:
                return state
            if answer.status not in (200, 403, 405, 501):
                raise explain_status(answer.status, answer.headers.get("Retry-After"))
        # Servers that sign URLs allow GET only, and some answer HEAD without a length.
        async with self._request("GET", url, Range="bytes=0-0") as answer:
            if answer.status not in (200, 206):
                raise explain_status(answer.status, answer.headers.get("Retry-After"))
            return _state_of(answer)

    async def _is_folder(self, url: str) -> bool:
        if url.endswith("/"):
            return True
        async with self._request("GET", url) as answer:
            if answer.status != 200:
                raise explain_status(answer.status, answer.headers.get("Retry-After"))
            return _is_page(answer)

    async def _list(self, url: str) -> ObjectListing:
        """List the files below a page by its links, and those of the pages below it."""
        from featx.places.remote.listing import ObjectListing

        root = url if url.endswith("/") else url + "/"
        seen, waiting, files, pages = {root}, [root], [], 1
        running: set[asyncio.Task[set[str]]] = set()
        try:
            while waiting or running:
                while waiting and len(running) < store.AT_ONCE:
                    page = waiting.pop()
                    running.add(asyncio.create_task(self._patiently(functools.partial(self._links, page))))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    for link in task.result() - seen:
                        if not link.startswith(root):
                            continue
                        seen.add(link)
                        if link.endswith("/"):
                            pages += 1
                            if pages > _MOST_PAGES or link.count("/", len(root)) > _DEEPEST:
                                raise PlaceError("gives listings of folders in folders without end")
                            waiting.append(link)
                        else:
                            files.append(link[len(root) :])
        finally:
            for task in running:
                task.cancel()
        if not files:
            raise PlaceError(_NO_LISTING)
        listing = ObjectListing(root)
        for file in sorted(files):
            listing.add(file, State())
        return listing

    async def _links(self, page: str) -> set[str]:
        """Return the links of a page that lead below it; the user, password and query of its URL stay."""
        async with self._request("GET", page) as answer:
            if answer.status in (404, 410):
                raise PlaceError(f"no such object, or no listing of a folder ({answer.status})")
            if answer.status in (401, 403):
                raise explain_status(answer.status)
            if answer.status != 200:
                raise explain_status(answer.status, answer.headers.get("Retry-After"))
            if not _is_page(answer):
                raise PlaceError(_NO_LISTING)
            text = (await _body(answer, _MOST_OF_PAGE)).decode("utf-8", "replace")
        parser = _Links()
        parser.feed(text)
        base = page.partition("?")[0]
        found = set()
        for href in parser.links:
            try:
                link = urljoin(base, href.strip())
                parts = split(link)
            except ValueError:  # no URL
                continue
            if parts.query or parts.fragment or protocol_of(link) not in ("http", "https"):
                continue
            # Pages may name themselves without the user and password of the URL.
            host = split(base).netloc
            if parts.netloc == host.rpartition("@")[2]:
                link = f"{parts.scheme}://{host}{parts.path}"
            if link.startswith(base) and link != base and not _leads_up(link[len(base) :]):
                found.add(link)
        return found

    def explain(self, error: Exception) -> PlaceError | Passing:
        """Return the failure that an error of aiohttp means."""
        name = type(error).__name__
        if name in ("InvalidURL", "NonHttpUrlClientError", "InvalidUrlClientError"):
            return PlaceError("is no valid URL")
        if name.endswith("RedirectClientError"):
            return PlaceError("cannot be read (it is redirected to what is no URL of a web server)")
        if name == "TooManyRedirects":
            return PlaceError("cannot be read (it is redirected again and again)")
        if isinstance(error, ValueError):  # no port, no host
            return PlaceError("is no valid URL")
        return explain_connection(error) or super().explain(error)


def watch_redirects() -> Any:
    """Return what makes a session of aiohttp refuse to be led to where only this machine is answered."""
    import aiohttp

    async def check(session: Any, context: Any, told: Any) -> None:
        target = urljoin(str(told.response.url), told.response.headers.get("Location", ""))
        if is_of_machine(target) and not is_of_machine(str(told.response.url)):
            told.response.close()
            raise PlaceError("cannot be read (it is redirected to an address that only this machine reaches)")

    watched = aiohttp.TraceConfig()
    watched.on_request_redirect.append(check)
    return watched


class _Links(HTMLParser):
    """The targets of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def _leads_up(path: str) -> bool:
    """Whether a path leads out of its folder where it is taken for a name."""
    name = unquote(path)
    return "\0" in name or ".." in name.replace("\\", "/").split("/")


async def _body(answer: Any, at_most: int) -> bytes:
    """Return the bytes of an answer, which may have any length, up to a limit."""
    found: bytes | bytearray = b""
    looked, before = time.monotonic(), 0
    async for part in answer.content.iter_any():
        if len(found) + len(part) > at_most:
            raise TooLarge(-1, at_most)
        if not found:
            found = part
            continue
        if isinstance(found, bytes):
            found = bytearray(found)
        found += part  # not a list of parts, which may have one byte each
        seconds = time.monotonic() - looked
        if seconds > store.STALLED:
            if len(found) - before < _SLOWEST * seconds:
                raise Passing("its bytes come too slowly")
            looked, before = looked + seconds, len(found)
    return bytes(found)


def _is_page(answer: Any) -> bool:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() in (
        "text/html",
        "application/xhtml+xml",
    )


def _length_of(answer: Any) -> int:
    """Return the bytes of the answer's body; -1 if it does not say."""
    length = answer.headers.get("Content-Length", "")
    stated = length.isascii() and length.isdigit() and len(length) <= 18
    return int(length) if stated and "Content-Encoding" not in answer.headers else -1


def _state_of(answer: Any) -> State:
    """Return the state of the whole object, as the answer to a request for it or for a part of it says."""
    headers = answer.headers
    size = _length_of(answer) if answer.status == 200 else -1
    if answer.status == 206 and (given := _RANGE.fullmatch(headers.get("Content-Range", ""))):
        size = int(given[3]) if given[3] != "*" else -1
    etag = headers.get("ETag", "")
    if etag.startswith("W/"):  # the same meaning, not the same bytes
        etag = ""
    if len(etag) > _LONGEST_ETAG or not (etag.isascii() and etag.isprintable()):
        etag = hashlib.blake2b(etag.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    changed, now = (_time_of(headers.get(name)) for name in ("Last-Modified", "Date"))
    if changed is None or changed > (time.time() if now is None else now) - _RACY:
        changed = 0
    return State(size, etag, int(changed * 10**9))


def _time_of(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError, OSError):
        return None
