"""Fill a template: every page is one self-contained HTML file, without scripts and without network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from featx.report.svg import Plot, inline_svg

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOOT = "Made by featx. The numbers are in results.json and results.csv beside this page."


def fill_template(name: str, view: Mapping[str, Any]) -> str:
    """Return the page that a template makes of a view, whose texts are escaped.

    Every view has ``title``, ``heading`` and ``subtitle``; what the template asks for and is missing is an
    error.
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
    """Return a plot as the macro ``figure`` takes it; `name` is unique on the page."""
    return {"svg": inline_svg(plot, name, wide), "title": title, "subtitle": subtitle}
