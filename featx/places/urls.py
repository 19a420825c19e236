"""URLs: what is one, what messages and caches may show of it, and which of them a table may name."""

from __future__ import annotations

import posixpath
import re
import socket
import unicodedata
from typing import TypeGuard
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

#: Protocols that read this machine: no network is waited for.
HERE = frozenset(["file", "local", "memory"])
#: Protocols that users meet, for messages; fsspec knows more.
KNOWN = ("http", "https", "s3", "gs", "az", "hf", "sftp", "memory", "file")

# At least two letters: C://photos is a path of Windows. Before it may stand the file systems of a chain.
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://")
_CHAIN = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+::|::[A-Za-z][A-Za-z0-9+.-]+(?:://|::)")
# Parameters of a query that sign a request (S3, Google, CloudFront, Azure): they name no other object.
_SIGNING = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|sig|expires|policy|key-pair-id"
    r"|s[erpvtrs]|spr|srt|sko?i?d?|sktid|ske|skt|skv",
    re.IGNORECASE,
)
# Others that hold a secret, by their names.
_SECRET = re.compile(
    r".*(token|secret|passw|credential|session|jwt|api_?-?key|auth).*|pw|pwd|pass", re.IGNORECASE
)
# A longer value without a word in it may be a secret, whatever it is called.
_LONGEST_SHOWN = 24
_MAY_HIDE = re.compile(r"[@?#]|::")
# In a message: what stands before the host, and a parameter of a query with its value.
_IN_HOST = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,20}:/{1,2})[^\s/@'\"]{1,2000}@")
_IN_QUERY = re.compile(r"([?&]([\w.~%-]{1,60})=)[^\s&'\"]{1,4000}")
_SPACE = re.compile(r"[\t\r\n\0]")
# File systems that read this machine, or others in a way that a table must not choose.
_OF_MACHINE = HERE | frozenset([
    "async_wrapper", "asynclocal", "asyncwrapper", "blockcache", "cached", "dask", "data", "dir", "dvc",
    "filecache", "generic", "git", "libarchive", "reference", "simplecache", "tar", "zip",
])  # fmt: skip
# Where clouds give out credentials, besides the addresses that are link-local.
_METADATA = frozenset([
    "metadata.google.internal", "metadata.goog", "metadata", "instance-data", "100.100.100.200",
    "fd00:ec2::254", "192.0.0.192", "168.63.129.16",
])  # fmt: skip


def is_url(text: object) -> TypeGuard[str]:
    """Whether a value is a URL, by its form."""
    return isinstance(text, str) and _URL.match(text) is not None and not _SPACE.search(text)


def is_chained(url: str) -> bool:
    """Whether a URL goes through several of fsspec's file systems, such as ``zip://a.jpg::https://...``."""
    return _CHAIN.search(url) is not None


def protocol_of(url: str) -> str:
    """Return the protocol, in lower case."""
    return url.partition("://")[0].lower()


def path_of(url: str) -> str:
    """Return the path of a URL as a name: no host, no query, no percent signs."""
    parts = split(url)
    return unquote(parts.path) if protocol_of(url) in ("http", "https") else f"{parts.netloc}{parts.path}"


def split(url: str) -> SplitResult:
    """Split a URL; names of objects in stores may hold the signs that begin query and fragment in http."""
    if protocol_of(url) in ("http", "https"):
        return urlsplit(url)
    protocol, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return SplitResult(protocol.lower(), host, slash + path, "", "")


def shown(url: str) -> str:
    """Return the URL as messages, ids and caches have it: without user, password and signatures.

    Of a query only what names the object is left. A long value is replaced by eight letters of its digest.
    """
    if not _MAY_HIDE.search(url):  # quick for a million
        return url
    if is_chained(url):
        return "::".join(shown(part) if "://" in part else part for part in url.split("::"))
    parts = split(url)
    host = parts.netloc.rpartition("@")[2]
    query = parts.query
    if query:
        pairs = parse_qsl(query, keep_blank_values=True)
        kept = [(name, _value(value)) for name, value in pairs if not _hidden(name)]
        query = urlencode(kept) if len(kept) < len(pairs) or any("~" in value for _, value in kept) else query
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def hide_secrets(text: str) -> str:
    """Return a message without the user, password and signatures of URLs in it, which may be written anyhow.

    A URL that was taken for a path has lost a slash.
    """
    return _IN_QUERY.sub(lambda m: m[1] if _hidden(m[2]) else m[0], _IN_HOST.sub(r"\1", text))


def hides_more_than_a_signature(url: str) -> bool:
    """Whether `shown` leaves out parameters that may decide which object the URL names."""
    pairs = parse_qsl(split(url).query, keep_blank_values=True)
    return any(_SECRET.fullmatch(name) and not _SIGNING.fullmatch(name) for name, _ in pairs)


def _hidden(name: str) -> bool:
    return _SIGNING.fullmatch(name) is not None or _SECRET.fullmatch(name) is not None


def _value(value: str) -> str:
    plain = len(value) <= _LONGEST_SHOWN or ("/" in value and "." in value.rpartition("/")[2])
    if plain:
        return value
    import hashlib

    return "~" + hashlib.blake2b(value.encode(), digest_size=4).hexdigest()


def why_refused(url: str) -> str:
    """Say why a cell of a table must not name this URL; ``""`` if it may.

    A table may come from somebody else. It may name objects of other hosts, because what is no image is
    never shown; it may not choose how they are read, nor name this machine or the address at which clouds
    give out credentials.
    """
    if is_chained(url):
        return "a chain of file systems (::), which a table must not choose"
    protocol = protocol_of(url)
    if protocol in _OF_MACHINE:
        return f"{protocol}:// names this machine; write the path itself"
    return "an address that only this machine reaches" if is_of_machine(url) else ""


def is_of_machine(url: str) -> bool:
    """Whether an http URL has an address at which only this machine is answered, as with its credentials."""
    if protocol_of(url) not in ("http", "https"):
        return False
    try:
        return _is_link_local(split(url).hostname or "")
    except ValueError:  # no host
        return False


def _is_link_local(host: str) -> bool:
    import ipaddress

    # As clients read it: percent signs, other digits and points of Unicode, an address as one number.
    host = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").rstrip(".").lower()
    host = host.partition("%")[0]
    if host in _METADATA:
        return True
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    inside = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    return bool(inside.is_link_local) or str(inside) in _METADATA


def parent_of(url: str) -> str:
    """Return the URL of the folder that an object lies in, with its user and password, without its query."""
    parts = split(url)
    path = parts.path.rpartition("/")[0] + "/"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def join(folder: str, path: str) -> str:
    """Return the URL of a path relative to that of a folder; `ValueError` if it leads out of the bucket."""
    parts = split(folder)
    joined = posixpath.normpath(posixpath.join(unquote(parts.path) if _quotes(folder) else parts.path, path))
    above = posixpath.normpath(posixpath.join(parts.path.lstrip("/"), path))
    if path.startswith("/") or above.startswith(".."):
        raise ValueError(f"{path} leads out of {parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    return urlunsplit((parts.scheme, parts.netloc, quote(joined) if _quotes(folder) else joined, "", ""))


def _quotes(url: str) -> bool:
    return protocol_of(url) in ("http", "https")


def named(text: str) -> str:
    """Return the path of a URL, by whose suffix its kind is seen; any other text as it is."""
    return path_of(text) if is_url(text) else text
