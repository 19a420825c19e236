"""Objects of S3 and of what speaks its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featx.places.place import PlaceError
from featx.places.remote.other_store import FsspecStore, require_objects, state_of
from featx.places.remote.retries import Passing
from featx.places.remote.state import Changed, State
from featx.places.remote.store import (
    Fetched,
    TooLarge,
    explain_connection,
    explain_status,
)

if TYPE_CHECKING:
    from featx.places.remote.listing import ObjectListing

_CREDENTIALS = (
    "no credentials for S3 found: set AWS_PROFILE or AWS_ACCESS_KEY_ID, or FSSPEC_S3_ANON=true for a public "
    "bucket"
)
_CODES = {
    "NoSuchBucket": "no such bucket",
    "NoSuchKey": "no such object",
    "404": "no such object",
    "AccessDenied": "access denied (no permission for this object or bucket)",
    "403": "access denied (no permission, or credentials that have expired)",
    "ExpiredToken": "the credentials have expired; sign in again",
    "ExpiredTokenException": "the credentials have expired; sign in again",
    "TokenRefreshRequired": "the credentials have expired; sign in again",
    "RequestExpired": "the credentials have expired; sign in again",
    "InvalidAccessKeyId": "the access key is not known to the server",
    "InvalidToken": "the session token is not valid",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "RequestTimeTooSkewed": "the clock of this machine is wrong, so requests are refused",
    "InvalidObjectState": "is archived (Glacier): restore it first",
    "InvalidBucketName": "is no valid name of a bucket",
    "PermanentRedirect": "lies in another region; set AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "lies in another region; set AWS_DEFAULT_REGION",
    "301": "lies in another region; set AWS_DEFAULT_REGION",
    "InvalidRange": "ends early: it is cut off, or was changed",
    "416": "ends early: it is cut off, or was changed",
}
_PASSING_CODES = frozenset(
    ["SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "503", "500"]
)


class S3Store(FsspecStore):
    """Objects of S3, read with the condition that their ETag is the one that was listed."""

    async def _fetch(
        self, url: str, start: int | None, length: int | None, at_most: int, expected: State | None
    ) -> Fetched:
        bucket, key, version = self.fs.split_path(url)
        asked: dict[str, Any] = {"VersionId": version} if version else {}
        if start is not None and length is not None:
            if length == 0:
                return Fetched(b"", expected or State(), False)
            asked["Range"] = f"bytes={start}-{start + length - 1}"
        if expected is not None and expected.etag:
            asked["IfMatch"] = expected.etag
        answer = await self.fs._call_s3("get_object", self.fs.req_kw, Bucket=bucket, Key=key, **asked)
        due = answer["ContentLength"]
        body = answer["Body"]
        try:
            state = _state_of(answer)
            if expected is not None and not expected.agrees(state):
                raise Changed
            if due > at_most:
                raise TooLarge(due, at_most)
            data = await body.read()
        finally:
            body.close()
        if len(data) != due:
            raise Passing(f"{len(data):,} of {due:,} bytes came")
        return Fetched(data, state, start is None)

    async def _list(self, url: str) -> ObjectListing:
        """List the objects below a prefix page by page, without keeping all that is said of each."""
        from featx.places.remote.listing import ObjectListing

        bucket, key, _ = self.fs.split_path(url)
        prefix = key.rstrip("/") + "/" if key else ""
        listing = ObjectListing(f"{url.partition('://')[0]}://{bucket}/{prefix}")
        below = len(bucket) + 1 + len(prefix)
        async for info in self.fs._iterdir(bucket, delimiter="", prefix=prefix):
            name = info["name"][below:]
            if name and not name.endswith("/"):
                listing.add(name, state_of(info))
        return require_objects(listing)

    def explain(self, error: Exception) -> PlaceError | Passing:
        """Return the failure that an error of s3fs, or of botocore below it, means."""
        for one in (error, error.__cause__, error.__context__):
            answer = getattr(one, "response", None)
            if isinstance(answer, dict):
                code = str(answer.get("Error", {}).get("Code", ""))
                about = answer.get("ResponseMetadata", {})
                status = about.get("HTTPStatusCode", 0)
                if code in ("PreconditionFailed", "412") or status == 412:
                    return Changed()
                if code in _PASSING_CODES:
                    return Passing(f"the server answers {code}", _after(about))
                if code in _CODES:
                    return PlaceError(_CODES[code])
                return explain_status(status, about.get("HTTPHeaders", {}).get("retry-after"))
            if "Credentials" in type(one).__name__ or "ProfileNotFound" in type(one).__name__:
                return PlaceError(_CREDENTIALS)
        return explain_connection(error) or super().explain(error)


def _after(about: dict[str, Any]) -> float | None:
    text = about.get("HTTPHeaders", {}).get("retry-after", "")
    return float(text) if text.isdigit() else None


def _state_of(answer: dict[str, Any]) -> State:
    size = answer["ContentLength"]
    if "/" in answer.get("ContentRange", ""):
        size = int(answer["ContentRange"].rpartition("/")[2])
    return state_of({"size": size, "ETag": answer.get("ETag"), "LastModified": answer.get("LastModified")})
