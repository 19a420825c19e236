"""Sources of what lies behind a URL: in a list, or in a cell of a table."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from featx.data.sources import file_source, stored_source
from featx.inputs import Source
from featx.inputs.audio import WHOLE, Segment
from featx.places.urls import is_url, join, protocol_of, why_refused


def stored_at(url: str, id: str, kind: str = "image", segment: Segment = WHOLE) -> Source:
    """Return the source of an object behind a URL; nothing is asked of its server."""
    from featx.places.remote import RemoteFile, open_store

    if (path := local_path(url)) is not None:
        return file_source(kind, id, path, segment)
    open_store(url)  # what is missing to read it is said at once
    return stored_source(kind, id, RemoteFile(url), segment)


def local_path(url: str) -> str | None:
    """Return the path that a ``file://`` or ``local://`` URL means; None for any other URL."""
    if protocol_of(url) not in ("file", "local"):
        return None
    parts = urlsplit(url)
    return url2pathname((f"//{parts.netloc}" if parts.netloc not in ("", "localhost") else "") + parts.path)


def url_of_cell(value: Any, folder: str) -> tuple[str, str]:
    """Return the URL that a cell of a table in `folder` means, and why it is refused; ``""`` where not.

    A table behind a URL names what lies on its host, or in its bucket, by relative paths, and never a file of
    this machine.
    """
    text = os.fspath(value)
    if is_url(text):
        return text, why_refused(text)
    if not folder or not is_url(folder):
        return "", ""
    try:
        return join(folder, text.replace(os.sep, "/")), ""
    except ValueError as error:
        return folder + text, str(error)
