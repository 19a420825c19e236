"""Leaks and labels: test pictures that were trained on, pictures with two labels, labels that look wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from featx.report.mistakes import data_uri
from featx.results import ComparisonResult

#: Pairs shown of each kind; of labels twice as many.
SHOWN = 8
SHOWN_METHODS = 6

Thumbnails = Mapping[str, bytes]


def leaks_and_labels(result: ComparisonResult, thumbnails: Thumbnails) -> str:
    """The section; empty where nothing was looked for or nothing was found."""
    hygiene = result.hygiene or {}
    if "leaks" not in hygiene:
        return ""
    parts = [
        _leaks(result, hygiene, thumbnails),
        _two_labels(hygiene["two_labels"], thumbnails),
        _labels(hygiene["label_errors"], thumbnails),
        _alike(hygiene["alike"], thumbnails),
    ]
    if not any(parts):
        return ""
    by = (
        "Pictures are the same where their embeddings and their perceptual hashes both say so"
        if hygiene["hashed"]
        else "From embeddings alone, as the images were not at hand: some pairs may only look alike"
    )
    return (
        f'<section class="card" id="hygiene"><h2>Leaks and labels</h2><p class="lead">{by}. A person should '
        f"look before anything is removed.</p>{''.join(parts)}</section>"
    )


def _leaks(result: ComparisonResult, hygiene: dict[str, Any], thumbnails: Thumbnails) -> str:
    leaks = hygiene["leaks"]
    if not leaks["test_images"]:
        return ""
    methods = {(m.name, m.backbone): m for m in result.methods}
    named = [(methods.get((entry["name"], entry["backbone"])), entry) for entry in leaks["top1"]]
    lines = [(method, entry) for method, entry in named if method is not None]
    lines.sort(key=lambda line: -line[1]["all"])
    rows = "".join(
        f'<tr><th scope="row">{escape(method.title)}</th><td class="num">{entry["all"]:.3f}</td>'
        f'<td class="num">{"-" if entry["without"] is None else format(entry["without"], ".3f")}</td></tr>'
        for method, entry in lines[:SHOWN_METHODS]
    )
    table = (
        '<table class="plain"><thead><tr><th>Top-1 accuracy</th><th>all test images</th>'
        f"<th>without these</th></tr></thead><tbody>{rows}</tbody></table>"
    )
    pairs = (
        _together(
            [_picture(pair["test"], "test", thumbnails), _picture(pair["train"], "training", thumbnails)],
            _measures(pair),
        )
        for pair in leaks["pairs"][:SHOWN]
    )
    return (
        f"<h3>Trained on and tested on: {leaks['test_images']} test images "
        f"({100 * leaks['share']:.1f} %)</h3>{_list(pairs)}{_rest(leaks['test_images'])}"
        f'<div class="scroll" style="margin-bottom:22px">{table}</div>'
    )


def _two_labels(found: dict[str, Any], thumbnails: Thumbnails) -> str:
    if not found["pictures"]:
        return ""
    pictures = (
        _together([_picture(image["id"], image["label"], thumbnails) for image in _telling(picture)], "")
        for picture in found["list"][:SHOWN]
    )
    return f"<h3>One picture, two labels: {found['pictures']}</h3>{_list(pictures)}{_rest(found['pictures'])}"


def _telling(picture: list[dict[str, str]]) -> list[dict[str, str]]:
    """Two images of the picture whose labels differ."""
    first = picture[0]
    return [first, next(image for image in picture if image["label"] != first["label"])]


def _labels(found: dict[str, Any] | None, thumbnails: Thumbnails) -> str:
    if not found or not found["images"]:
        return ""
    tiles = "".join(
        f'<li>{_image(entry["id"], thumbnails)}<span class="said">{escape(entry["suggested"])} · '
        f"{100 * entry['confidence']:.0f} %</span><small>labelled {escape(entry['given'])} · "
        f"{'training' if entry['part'] == 'train' else 'test'}</small></li>"
        for entry in found["list"][: 2 * SHOWN]
    )
    return (
        f"<h3>Labels that look wrong: {found['images']}</h3>"
        '<p class="muted"><small>By confident learning, from models that had not seen the image and agree '
        f"with {100 * found['agreement']:.1f} % of all labels; the lower that is, the more of these are "
        f"the models’ mistakes.</small></p>"
        f'<ul class="mistakes" style="margin-bottom:22px">{tiles}</ul>{_rest(found["images"], 2 * SHOWN)}'
    )


def _alike(found: dict[str, Any], thumbnails: Thumbnails) -> str:
    if not found["pairs"]:
        return ""
    pairs = (
        _together(
            [_picture(pair[side], "", thumbnails) for side in ("first", "second")],
            _measures(pair),
        )
        for pair in found["list"][:SHOWN]
    )
    return (
        f"<details><summary>Very alike, though not the same by their hashes: {found['pairs']} pairs</summary>"
        f"<div>{_list(pairs)}{_rest(found['pairs'])}</div></details>"
    )


def _together(pictures: list[str], said: str) -> str:
    small = f"<small>{escape(said)}</small>" if said else ""
    return f'<li><div class="mistakes">{"".join(pictures)}</div>{small}</li>'


def _picture(id: str, said: str, thumbnails: Thumbnails) -> str:
    text = f"{said}: {id}" if said else id
    return f"<div>{_image(id, thumbnails)}<small>{escape(text)}</small></div>"


def _image(id: str, thumbnails: Thumbnails) -> str:
    data = thumbnails.get(id)
    if not data:
        return f'<span class="none" title="{escape(id)}"><small>no preview</small></span>'
    return f'<img alt="{escape(id)}" title="{escape(id)}" loading="lazy" src="{data_uri(data)}">'


def _measures(pair: dict[str, Any]) -> str:
    if pair["kind"] == "identical":
        return "identical to the network"
    if pair["distance"] is None:
        return "a copy of a copy"
    bits = "" if pair["bits"] is None else f", hashes differ in {pair['bits']} of 64 bits"
    return f"distance {pair['distance']:.3f}{bits}"


def _list(items: Iterable[str]) -> str:
    return f'<ul class="together">{"".join(items)}</ul>'


def _rest(count: int, shown: int = SHOWN) -> str:
    if count <= shown:
        return ""
    return f'<p class="muted"><small>{count - shown:,} more; the first 100 are in results.json.</small></p>'
