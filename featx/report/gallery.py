"""Show images: thumbnails as ``data:`` addresses, with what is said of each."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tile:
    """An image, and the lines below it."""

    id: str
    src: str  # the thumbnail; empty where there is none
    said: str = ""  # what stands out
    small: str = ""
    also: str = ""  # a remark
    alt: str = ""  # what a reader who cannot see it should know


def tile(id: str, thumbnails: Mapping[Any, bytes], *, key: Any = None, **texts: str) -> Tile:
    """Return the tile of an image; `key` finds its thumbnail where that is not its id."""
    return Tile(id, data_uri(thumbnails.get(id if key is None else key)), **{"alt": id} | texts)


def data_uri(image: bytes | None) -> str:
    """Return a JPEG, PNG or WebP file as a ``data:`` address; of no file, an empty text."""
    if not image:
        return ""
    kind = "png" if image.startswith(b"\x89PNG") else "webp" if image[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
