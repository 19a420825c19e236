"""Places: where the bytes of one input lie, if not in a file of its own.

A place is a member of an archive, an object of a remote store, or a cell of a column. It is read by offset:
nothing is unpacked to disk. Sources of every kind of input take one (`featx.inputs.image.StoredImage` and its
siblings), so that a new place needs no change there.
"""

from __future__ import annotations

from featx.places.local_ranges import LocalRanges
from featx.places.place import Place, PlaceError, RangeReader, StatKey, read_start
from featx.places.span import Span, WholeFile
from featx.places.stopping import stop_with
from featx.places.urls import is_url, shown

__all__ = [
    "LocalRanges",
    "Place",
    "PlaceError",
    "RangeReader",
    "Span",
    "StatKey",
    "WholeFile",
    "is_url",
    "read_start",
    "shown",
    "stop_with",
]
