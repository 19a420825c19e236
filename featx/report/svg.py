"""A matplotlib figure as inline SVG that follows the page: its colours, its font, light and dark.

Figures are drawn in the stand-in colours below, each of which becomes a CSS variable of the page; text stays
text, so that it can be read aloud, searched, and drawn in any script the reader's fonts have.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# CSS variable -> the colour that stands for it in a figure; dull values no palette would contain.
INK = {
    "--ink": "#0a0b01",
    "--muted": "#0a0b02",
    "--line": "#0a0b03",
    "--card": "#0a0b04",
    "--probe": "#0a0b05",
    "--tuned": "#0a0b06",
    "--floor": "#0a0b07",
    "--wrong": "#0a0b08",
    "--line-1": "#0a0b09",
    "--line-2": "#0a0b0a",
    "--line-3": "#0a0b0b",
    "--line-4": "#0a0b0c",
    "--line-5": "#0a0b0d",
    "--line-6": "#0a0b0e",
}

_RC: dict[Any, Any] = {"svg.fonttype": "none", "font.family": ["DejaVu Sans"], "font.size": 11.0}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure whose units are CSS pixels: ``width`` x ``height``, and a font size 11 is 11 px."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72)


def inline_svg(figure: Figure, name: str, alt: str, tips: Sequence[str] = ()) -> str:
    """Render a figure for the page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn in the colours of ``INK``, in CSS pixels (:func:`new_figure`). An artist whose gid is
        ``tip-3`` shows ``tips[3]`` when pointed at.
    name : str
        Unique on the page; ids inside the SVG derive from it.
    alt : str
        What a reader who cannot see it should know.
    tips : sequence of str
        Texts to show on pointing.

    Returns
    -------
    str
        One ``<svg>`` element.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_RC | {"svg.hashsalt": name}), warnings.catch_warnings():
        # The browser draws the glyphs; that matplotlib's own font lacks them only blurs its measuring.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    return _fit_into_page(buffer.getvalue(), name, alt, tips)


def _fit_into_page(svg: str, name: str, alt: str, tips: Sequence[str]) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None, "matplotlib always writes a viewBox"
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {box[1]} {box[2]}" width="{box[1]}" '
        f'height="{box[2]}" role="img" aria-label="{html.escape(alt)}">'
    )
    svg = head + svg[svg.index(">") + 1 :]

    def tip(match: re.Match[str]) -> str:
        i = int(match[1])
        return f"<g><title>{html.escape(tips[i])}</title>" if i < len(tips) else "<g>"

    svg = re.sub(r'<g id="tip-(\d+)">', tip, svg)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    for old in used:  # clip paths and markers: the hash is salted, the prefix makes it certain
        svg = re.sub(rf'(id="|href="#|url\(#){re.escape(old)}(?=["\)])', rf"\g<1>{name}-{old}", svg)
    return _themed(svg, {colour: variable for variable, colour in INK.items()})


def _themed(svg: str, variables: Mapping[str, str]) -> str:
    # An attribute cannot hold a variable, a style can; matplotlib writes colours into styles.
    pattern = re.compile("|".join(map(re.escape, variables)))
    return re.sub(r"\n\s*", "\n", pattern.sub(lambda m: f"var({variables[m[0]]})", svg))
