"""Open the store of a URL: one for each protocol and set of options in a process."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from featx.errors import InputError, MissingExtra, UnknownName
from featx.forks import fresh_in_child
from featx.places.place import PlaceError
from featx.places.remote.http_store import HttpStore, watch_redirects
from featx.places.remote.other_store import FsspecStore
from featx.places.remote.s3_store import S3Store
from featx.places.remote.store import Store
from featx.places.urls import HERE, KNOWN, is_chained, protocol_of, shown

#: The extra of featx that installs what reads a protocol, if it is not ``remote``.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
#: Connections of one store.
_CONNECTIONS = 64

_lock = fresh_in_child(threading.Lock())
_stores: dict[str, Store] = {}


def open_store(url: str) -> Store:
    """Return the store of a URL; `MissingExtra` or `InputError` where no package reads its protocol.

    The user's options come from fsspec: files in ``~/.config/fsspec`` and variables such as
    ``FSSPEC_S3_ENDPOINT_URL``.
    """
    if is_chained(url):
        raise InputError(
            f"{shown(url)}: chains of file systems (::) are not read; give the URL of the object"
        )
    protocol = protocol_of(url)
    kind = _kind_of(protocol, shown(url))
    options = kind._get_kwargs_from_urls(url) if protocol not in ("http", "https") else {}
    key = json.dumps([protocol, options], sort_keys=True, default=repr)
    with _lock:
        if key not in _stores:
            _stores[key] = _open(protocol, kind, options)
        return _stores[key]


def _kind_of(protocol: str, name: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra("fsspec", _EXTRAS.get(protocol, "remote"), f"reading {name}") from error
    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        if protocol in ("http", "https", *_EXTRAS):
            package = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "s3a": "s3fs"}.get(
                protocol, "gcsfs"
            )
            raise MissingExtra(package, _EXTRAS.get(protocol, "remote"), f"reading {name}") from error
        # fsspec says which package to install.
        raise InputError(
            f"{name}: {protocol}:// cannot be read here: {' '.join(str(error).split())}"
        ) from error
    except ValueError as error:
        raise InputError(f"{name}: {UnknownName('protocol', protocol, KNOWN)}") from error


def _open(protocol: str, kind: Any, options: dict[str, Any]) -> Store:
    from fsspec.config import conf

    given = conf.get(protocol, {})
    # Not fsspec's own instance: the program around featx may use that one with other settings.
    new: dict[str, Any] = {"skip_instance_cache": True, **options}
    try:
        if protocol in ("http", "https"):
            # Proxies and .netrc as other programs take them.
            watched = {"trust_env": True, "trace_configs": [watch_redirects()]}
            new["client_kwargs"] = {**watched, **given.get("client_kwargs", {})}
            return HttpStore(kind(**new))
        if protocol in ("s3", "s3a"):
            limits = {
                "connect_timeout": 15,
                "read_timeout": 30,
                "max_pool_connections": _CONNECTIONS,
                "retries": {"max_attempts": 0},  # featx counts the tries
            }
            new["config_kwargs"] = {**limits, **given.get("config_kwargs", {})}
            filesystem = kind(**new)
            filesystem.retries = 1
            return S3Store(filesystem)
        store = FsspecStore(kind(**new))
    except (InputError, PlaceError):
        raise
    except Exception as error:  # no host, no login
        raise PlaceError(f"cannot be reached ({type(error).__name__})") from None
    store.is_remote = protocol not in HERE
    return store


def _forget() -> None:
    _stores.clear()


if hasattr(os, "register_at_fork"):
    # The loop's thread and its connections are the parent's.
    os.register_at_fork(after_in_child=_forget)
