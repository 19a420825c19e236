"""Turn a matplotlib figure into inline SVG with the page's font and colours, light and dark.

Figures are drawn in the placeholder colours below, each of which becomes a CSS variable; text stays text, so
that it can be read aloud, searched, and drawn in any script that the reader's fonts have.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# CSS variable -> its placeholder colour in figures, which no palette contains.
_VARIABLES = ("ink", "muted", "line", "card", "probe", "finetune", "reference", "wrong")
INK = {
    f"--{name}": f"#0a0b{i:02x}"
    for i, name in enumerate((*_VARIABLES, *(f"line-{i}" for i in range(1, 7))), start=1)
}

_RC: dict[Any, Any] = {"svg.fonttype": "none", "font.family": ["DejaVu Sans"], "font.size": 11.0}


@dataclass
class Plot:
    """A figure of the page."""

    figure: Figure  # drawn in the colours of `INK`, in CSS pixels (`new_figure`)
    alt: str  # for readers who cannot see the figure
    tips: list[str] = field(default_factory=list)  # an artist whose gid is "tip-3" shows tips[3] on hovering


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure in CSS pixels; font size 11 is 11 px."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72)


def new_axes(
    width: float, height: float, left: float, bottom: float, right: float, top: float
) -> tuple[Figure, Axes]:
    """Return a new figure and its axes, with margins in CSS pixels."""
    figure = new_figure(width, height)
    box = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    return figure, figure.add_axes(box)


def inline_svg(plot: Plot, name: str, wide: bool = False) -> Markup:
    """Return a plot as one ``<svg>`` element; its ids derive from `name`, which is unique on the page.

    With `wide` it keeps its size on a narrow screen, where the page scrolls it.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_RC | {"svg.hashsalt": name}), warnings.catch_warnings():
        # The browser draws the glyphs; matplotlib, whose font may lack them, only estimates widths.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        plot.figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    return _fit_into_page(buffer.getvalue(), name, plot, wide)


def _fit_into_page(svg: str, name: str, plot: Plot, wide: bool) -> Markup:
    from markupsafe import Markup  # its format() escapes what it is given

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None, "matplotlib always writes a viewBox"
    head = Markup(
        '<svg {}xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}" width="{width}" '
        'height="{height}" role="img" aria-label="{alt}">'
    ).format(Markup('class="wide" ' if wide else ""), width=box[1], height=box[2], alt=plot.alt)

    def tip(match: re.Match[str]) -> str:
        i = int(match[1])
        return Markup("<g><title>{}</title>").format(plot.tips[i]) if i < len(plot.tips) else "<g>"

    svg = re.sub(r'<g id="tip-(\d+)">', tip, str(head) + svg[svg.index(">") + 1 :])
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    for old in used:  # clip paths and markers: the hash is salted, the prefix makes it certain
        svg = re.sub(rf'(id="|href="#|url\(#){re.escape(old)}(?=["\)])', rf"\g<1>{name}-{old}", svg)
    # An attribute cannot hold a variable, a style can; matplotlib writes colours into styles.
    variables = {colour: variable for variable, colour in INK.items()}
    svg = re.sub("|".join(variables), lambda m: f"var({variables[m[0]]})", svg)
    return Markup(re.sub(r"\n\s*", "\n", svg))
