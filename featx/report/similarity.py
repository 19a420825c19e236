"""The page of two sets compared: the verdict, the distances, the images that stand out."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from html import escape

from featx.report.document import document
from featx.report.mistakes import data_uri
from featx.results import write_atomically
from featx.results.similarity import SimilarityResult

_FOOT = "Made by featx. The numbers are in results.json beside this page."


def write_similarity(
    path: str | os.PathLike[str], result: SimilarityResult, thumbnails: Mapping[tuple[str, str], bytes]
) -> None:
    """Write `render_similarity`'s page to a file, all of it or nothing.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    write_atomically(path, render_similarity(result, thumbnails))


def render_similarity(result: SimilarityResult, thumbnails: Mapping[tuple[str, str], bytes]) -> str:
    """Lay out a comparison of two sets as a self-contained HTML page.

    Parameters
    ----------
    result : SimilarityResult
    thumbnails : mapping of (str, str) to bytes
        Name of the set and id of the image -> a small JPEG.

    Returns
    -------
    str
        The page.
    """
    notes = "".join(f'<p class="warning" role="note">{escape(note)}</p>' for note in result.notes)
    rows = "".join(
        f'<tr><th scope="row">{escape(m["title"])}</th><td class="num">{_number(m["value"])}</td>'
        f'<td class="num">{_number(m["chance"])}</td></tr>'
        for m in result.measures
    )
    a, b = (str(s["name"]) for s in result.sets)
    tiles = []
    for m in result.most_different:
        data = thumbnails.get((m["set"], m["id"]))
        picture = (
            f'<img alt="{escape(m["id"])}" loading="lazy" src="{data_uri(data)}">'
            if data
            else '<span class="none"><small>no preview</small></span>'
        )
        about = f"<small>{escape(m['set'])}: {escape(m['id'])}</small>"
        tiles.append(f'<li>{picture}<span class="num">{m["log_ratio"]:+.1f}</span>{about}</li>')
    sections = [
        f'<section class="card verdict{" doubt" if result.drift else ""}">'
        f'<p class="use">{"Drift" if result.drift else "No drift found"}</p>'
        f'<p class="advice">{escape(result.verdict())}</p>{notes}</section>',
        '<section class="card"><h2>Distances</h2><p class="lead">“By chance” is the same distance between '
        "random divisions of all these images into two sets of the same sizes.</p>"
        '<table class="plain"><thead><tr><th scope="col">Distance</th><th scope="col">Value</th>'
        f'<th scope="col">By chance</th></tr></thead><tbody>{rows}</tbody></table></section>',
        '<section class="card"><h2>Least like the other set</h2><p class="lead">The number is the logarithm '
        "of how much denser the image’s own set is there, by a linear classifier that did not see it.</p>"
        f'<ul class="mistakes">{"".join(tiles)}</ul></section>',
    ]
    sizes = " · ".join(f"{s['name']}: {s['used']:,} of {s['n']:,} images" for s in result.sets)
    return document(f"{b} against {a}", f"{b} against {a}", sizes, sections, _FOOT)


def _number(x: float | None) -> str:
    return "–" if x is None or not math.isfinite(x) else f"{x:.4g}"
