"""Objects behind URLs, read through fsspec: whole or in ranges, with retries, of one state each."""

from __future__ import annotations

from featx.places.remote.listing import ObjectListing
from featx.places.remote.opening import open_store
from featx.places.remote.remote_file import RemoteFile
from featx.places.remote.retries import Retries
from featx.places.remote.state import State
from featx.places.remote.states import refresh_states

__all__ = [
    "ObjectListing",
    "RemoteFile",
    "Retries",
    "State",
    "open_store",
    "refresh_states",
]
