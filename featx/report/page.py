"""Fill templates, and show figures, images, texts and clips in them.

Every page is one self-contained HTML file that needs no scripts and no network.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featx.inputs.samples import ClipSample, Sample
from featx.kinds import picture_of, with_article
from featx.report.svg import Plot, inline_svg
from featx.terminal import printable_lines, shortened

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

#: Most characters of a text that show at once, and those that show when it is opened.
SHOWN_TEXT, WHOLE_TEXT = 300, 5_000
FOOT = "Made by featx. The numbers are in results.json and results.csv beside this page."


def fill_template(name: str, view: Mapping[str, Any]) -> str:
    """Fill a template with a view, whose texts are escaped.

    Every view has ``title``, ``heading`` and ``subtitle``, and ``kind`` where its inputs are no images; a
    missing value is an error.
    """
    return _environment().get_template(name).render({"foot": FOOT, "kind": "image"} | dict(view))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("featx.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"picture_of": picture_of, "with_article": with_article}
    return environment


def draw(
    plot: Plot, name: str, title: str = "", subtitle: str = "", wide: bool = False
) -> dict[str, str | Markup]:
    """Return a plot for the template macro ``figure``; `name` must be unique on the page."""
    return {"svg": inline_svg(plot, name, wide), "title": title, "subtitle": subtitle}


@dataclass(frozen=True)
class Tile:
    """An image, a text or a clip with the lines below it."""

    id: str
    src: str = ""  # the image, or the spectrogram of a clip, as a ``data:`` address
    sound: str = ""  # the clip as one
    text: str = ""  # the text on one line, or its beginning
    whole: str = ""  # the text with its line ends, where `text` is its beginning
    title: str = ""  # what opens the whole text
    said: str = ""  # the main line
    small: str = ""
    also: str = ""  # a remark
    alt: str = ""  # for readers who cannot see the image


@dataclass(frozen=True)
class ClipTile(Tile):
    """A clip with the lines below it, and the times below its spectrogram, from left to right."""

    times: tuple[str, ...] = ()


def tile(id: str, samples: Mapping[Any, Sample], *, key: Any = None, **lines: str) -> Tile:
    """Return the tile of an input; `key` finds its sample if it is not the id."""
    sample = samples.get(id if key is None else key)
    if isinstance(sample, str):
        return Tile(id, **_text_parts(sample), **{"alt": id} | lines)
    if isinstance(sample, ClipSample):
        return _clip_tile(id, sample, lines)
    return Tile(id, data_uri(sample), **{"alt": id} | lines)


def _clip_tile(id: str, clip: ClipSample, lines: dict[str, str]) -> Tile:
    """Return the tile of a clip, with three times below its spectrogram."""
    end = f"{clip.shown:.3g} s"
    if clip.shown < 0.99 * clip.seconds:
        end += f" of {clip.seconds:,.3g} s" if clip.seconds < 1000 else f" of {clip.seconds:,.0f} s"
    hertz = f"{clip.highest / 1000:.3g} kHz"
    alt = f"{lines.get('alt', id)}: spectrogram, {end} to the right, up to {hertz}"
    times = "0", f"{clip.shown / 2:.3g}", end
    given = lines | {"sound": data_uri(clip.sound), "alt": alt}
    return ClipTile(id, data_uri(clip.picture), times=times, **given)


def _text_parts(text: str) -> dict[str, str]:
    """Return a text of anybody's for a tile: nothing in it can hide, reorder or move the text around it."""
    whole = printable_lines("\n".join(text[:WHOLE_TEXT].expandtabs(4).splitlines()).strip())
    line = " ".join(whole.split())
    if len(text) <= WHOLE_TEXT and len(line) <= SHOWN_TEXT:
        return {"text": line}
    left = len(text) - WHOLE_TEXT
    title = f"the first {WHOLE_TEXT:,} of its {len(text):,} characters" if left > 0 else "the whole text"
    return {"text": shortened(line, SHOWN_TEXT), "whole": whole, "title": title}


def data_uri(file: bytes | None) -> str:
    """Return a JPEG, PNG, WebP, WAV or MP3 file as a ``data:`` address, or an empty text for None."""
    if not file:
        return ""
    kind = "image/jpeg"
    if file.startswith(b"\x89PNG"):
        kind = "image/png"
    elif file.startswith(b"RIFF"):
        kind = "image/webp" if file[8:12] == b"WEBP" else "audio/wav"
    elif file.startswith(b"ID3") or (file[0] == 0xFF and file[1] >= 0xE0):
        kind = "audio/mpeg"
    return f"data:{kind};base64,{base64.b64encode(file).decode('ascii')}"
