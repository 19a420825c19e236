"""The page of inputs to label next."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from featx.inputs.samples import Sample
from featx.report.page import fill_template, tile
from featx.results import write_atomically


def write_label_page(
    path: str | os.PathLike[str],
    table: str,
    rows: Sequence[tuple[str, str | None, float | None]],
    samples: Mapping[str, Sample],
    kind: str = "image",
) -> None:
    """Write a page of images, texts or clips, in the order of the table's rows.

    Parameters
    ----------
    path : path-like
    table : str
        The name of the table to fill in.
    rows : sequence of (id, suggested label or None, its probability or None)
    samples : mapping of str to Sample
        Small images, texts or clips, by id.
    kind : str, default="image"
        The kind of the inputs.
    """
    tiles = [
        tile(
            id,
            samples,
            said=f"row {i}" + (f": {suggested}?" if suggested is not None else ""),
            small=id,
            also="" if confidence is None else f"{100 * confidence:.0f} %",
        )
        for i, (id, suggested, confidence) in enumerate(rows, 2)  # the first row has the titles
    ]
    view = {
        "title": f"{table}: to label next",
        "heading": "To label next",
        "subtitle": f"the first {len(tiles)} rows of {table}",
        "kind": kind,
        "tiles": tiles,
        "table": table,
        "foot": "Made by featx.",
    }
    write_atomically(path, fill_template("label.html", view))
