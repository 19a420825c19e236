"""Unpacked pages of columns that this process has read lately, in bounded memory."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable

from featx.forks import fresh_in_child
from featx.places.columns.parquet_pages import Page

#: Bytes of unpacked pages that are kept; a page that is larger is kept alone.
MOST_BYTES = 2**28

_lock = fresh_in_child(threading.Lock())
_pages: OrderedDict[Hashable, Page] = OrderedDict()
_total = 0


def kept_page(key: Hashable) -> Page | None:
    """Return the page with this key, if it is kept."""
    with _lock:
        if key not in _pages:
            return None
        _pages.move_to_end(key)
        return _pages[key]


def keep_page(key: Hashable, page: Page) -> None:
    """Keep a page; those that were used least recently are dropped."""
    global _total
    with _lock:
        if key in _pages:
            return
        _pages[key] = page
        _total += page.nbytes
        while _total > MOST_BYTES and len(_pages) > 1:
            _total -= _pages.popitem(last=False)[1].nbytes


def drop_pages() -> None:
    """Drop all pages."""
    global _total
    with _lock:
        _pages.clear()
        _total = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=drop_pages)  # the parent's may be half changed
