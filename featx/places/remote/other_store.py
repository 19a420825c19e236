"""Objects of any file system of fsspec, compared with what it says of them before and after they are read."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from featx.errors import reason_of
from featx.places.place import PlaceError
from featx.places.remote.retries import Passing
from featx.places.remote.state import Changed, State
from featx.places.remote.store import (
    Fetched,
    Store,
    TooLarge,
    explain_connection,
    explain_status,
)
from featx.places.urls import HERE, protocol_of

if TYPE_CHECKING:
    from featx.places.remote.listing import ObjectListing

_TIMES = "LastModified", "last_modified", "updated", "mtime", "modified"
_ETAGS = "ETag", "etag", "e_tag", "generation", "md5Hash"


class FsspecStore(Store):
    """Objects of a file system of fsspec, asynchronous or not."""

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        if self.fs.async_impl:
            return await getattr(self.fs, f"_{name}")(*args, **options)
        return getattr(self.fs, name)(*args, **options)

    async def _fetch(
        self, url: str, start: int | None, length: int | None, at_most: int, expected: State | None
    ) -> Fetched:
        here = protocol_of(url) in HERE
        before = await self._look(url) if here or expected is None or not expected.is_known else expected
        if expected is not None and not expected.agrees(before):
            raise Changed
        due = before.size if length is None else length
        if due > at_most:
            raise TooLarge(due, at_most)
        part = {} if start is None or length is None else {"start": start, "end": start + length}
        data = await self._call("cat_file", self.fs._strip_protocol(url), **part)
        after = await self._look(url)
        if not before.agrees(after):
            raise Changed
        if 0 <= due != len(data):
            raise Passing(f"{len(data):,} of {due:,} bytes came")
        return Fetched(data, after, start is None)

    async def _look(self, url: str) -> State:
        return state_of(await self._info(url))

    async def _info(self, url: str) -> dict[str, Any]:
        # Listings that the file system remembers may be outdated.
        self.fs.invalidate_cache()
        info: dict[str, Any] = await self._call("info", self.fs._strip_protocol(url))
        return info

    async def _is_folder(self, url: str) -> bool:
        return bool((await self._info(url))["type"] == "directory")

    async def _list(self, url: str) -> ObjectListing:
        from featx.places.remote.listing import ObjectListing

        self.fs.invalidate_cache()
        root = self.fs._strip_protocol(url).rstrip("/")
        found: dict[str, dict[str, Any]] = await self._call("find", root, detail=True)
        entries = ObjectListing(url.rstrip("/") + "/")
        for name, info in sorted(found.items()):
            below = name[len(root) :].strip("/") if name.startswith(root) else ""
            if info.get("type") == "file" and below and not name.endswith("/"):
                entries.add(below, state_of(info))
        return require_objects(entries)

    def explain(self, error: Exception) -> PlaceError | Passing:
        """Return the failure that an error of the file system means."""
        status = getattr(error, "code", None) or getattr(error, "status", None)
        if isinstance(status, int) and 400 <= status < 600:
            return explain_status(status)
        if isinstance(error, FileNotFoundError):
            return PlaceError("no such object")
        if isinstance(error, PermissionError):
            return PlaceError("access denied (no permission, or credentials that have expired)")
        if isinstance(error, IsADirectoryError):
            return PlaceError("is a folder")
        failure = explain_connection(error)
        if failure is not None:
            return failure
        # Only the text of the system: messages of libraries may quote URLs with what signs them.
        reason = reason_of(error) if getattr(error, "strerror", None) else type(error).__name__
        return PlaceError(f"cannot be read ({reason})")


def require_objects(listing: ObjectListing) -> ObjectListing:
    """Return a listing that is not empty."""
    if not listing:
        raise PlaceError("there is no object at it or below it")
    return listing


def state_of(info: dict[str, Any]) -> State:
    """Return the state that a listing, or an answer, says of an object."""
    etag = next((str(info[key]) for key in _ETAGS if info.get(key)), "")
    time = next((info[key] for key in _TIMES if info.get(key)), 0)
    if isinstance(time, str):
        try:
            time = datetime.datetime.fromisoformat(time)
        except ValueError:
            time = 0
    if isinstance(time, datetime.datetime):
        time = time.timestamp()
    size = info.get("size")
    changed = int(time * 10**9) if isinstance(time, (int, float)) else 0
    return State(-1 if size is None else int(size), etag, changed)
