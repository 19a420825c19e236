"""The frame that every page shares: one self-contained file, its head, its style, its foot; and a figure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from featx.report.plots import Plot
from featx.report.style import CSS
from featx.report.svg import inline_svg

# The page itself forbids what it does not need; a class name that smuggles in a script finds it shut.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

FOOT = "Made by featx. The numbers are in results.json and results.csv beside this page."


def document(title: str, heading: str, subtitle: str, sections: Iterable[str], foot: str = FOOT) -> str:
    """A whole page of sections, which are HTML; the other texts are escaped here."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(heading)}</h1><small>{escape(subtitle)}</small></header>\n"
        + "\n".join(filter(None, sections))
        + f"\n<footer>{escape(foot)}</footer>\n</main>\n</body>\n</html>\n"
    )


def figure(plot: Plot, name: str, title: str = "", subtitle: str = "", wide: bool = False) -> str:
    """A plot as a figure of the page; `name` is unique on it."""
    svg = inline_svg(plot.figure, name, plot.alt, plot.tips)
    if wide:
        svg = svg.replace("<svg ", '<svg class="wide" ', 1)
    small = f"<small>{escape(subtitle)}</small>" if subtitle else ""
    caption = f"<figcaption>{escape(title)}{small}</figcaption>" if title else ""
    return f'<figure>{caption}<div class="scroll">{svg}</div></figure>'
