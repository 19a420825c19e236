"""Fill templates, and show figures and images in them.

Every page is one self-contained HTML file that needs no scripts and no network.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featx.report.svg import Plot, inline_svg

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOOT = "Made by featx. The numbers are in results.json and results.csv beside this page."


def fill_template(name: str, view: Mapping[str, Any]) -> str:
    """Fill a template with a view, whose texts are escaped.

    Every view has ``title``, ``heading`` and ``subtitle``; a missing value is an error.
    """
    return _environment().get_template(name).render({"foot": FOOT} | dict(view))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("featx.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def draw(
    plot: Plot, name: str, title: str = "", subtitle: str = "", wide: bool = False
) -> dict[str, str | Markup]:
    """Return a plot for the template macro ``figure``; `name` must be unique on the page."""
    return {"svg": inline_svg(plot, name, wide), "title": title, "subtitle": subtitle}


@dataclass(frozen=True)
class Tile:
    """An image with the lines below it."""

    id: str
    src: str  # the thumbnail as a ``data:`` address, or empty
    said: str = ""  # the main line
    small: str = ""
    also: str = ""  # a remark
    alt: str = ""  # for readers who cannot see the image


def tile(id: str, thumbnails: Mapping[Any, bytes], *, key: Any = None, **texts: str) -> Tile:
    """Return the tile of an image; `key` finds its thumbnail if it is not the id."""
    return Tile(id, data_uri(thumbnails.get(id if key is None else key)), **{"alt": id} | texts)


def data_uri(image: bytes | None) -> str:
    """Return a JPEG, PNG or WebP file as a ``data:`` address, or an empty text for None."""
    if not image:
        return ""
    kind = "png" if image.startswith(b"\x89PNG") else "webp" if image[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
