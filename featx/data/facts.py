"""What a dataset or features consist of, in a few words: their `repr` and their view in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.results.tables import html_table
from featx.terminal import printable

#: Classes that are named, and most characters of a fact.
_NAMED, _MOST = 5, 80


def facts_of(collection: Any) -> dict[str, str]:
    """Return the facts of a `Dataset` or `Features` by what they are about; only those that are there."""
    facts = {"name": name} if (name := getattr(collection, "name", "")) else {}
    facts["images"] = f"{len(collection):,}"
    if (rows := getattr(collection, "embeddings", None)) is not None:
        facts["values"] = f"{rows.shape[1]:,}, {rows.dtype}"
        network = collection.space.get("backbone")
        if isinstance(network, Mapping) and "architecture" in network:
            facts["backbone"] = str(network["architecture"])
    if collection.classes is not None:
        more = ", ..." if len(collection.classes) > _NAMED else ""
        facts["classes"] = f"{len(collection.classes):,} ({', '.join(collection.classes[:_NAMED])}{more})"
    if collection.splits is not None:
        names, counts = np.unique(collection.splits, return_counts=True)
        facts["splits"] = ", ".join(f"{name} {n:,}" for name, n in zip(names, counts.tolist(), strict=True))
    if collection.groups is not None:
        facts["groups"] = f"{len(np.unique(collection.groups)):,}"
    if collection.targets:
        facts["targets"] = ", ".join(collection.targets)
    if failures := getattr(collection, "failures", None):
        facts["failures"] = f"{len(failures):,}"
    texts = {about: printable(text) for about, text in facts.items()}
    return {about: t if len(t) <= _MOST else f"{t[: _MOST - 1]}…" for about, t in texts.items()}


def one_line(collection: Any) -> str:
    """Return the `repr` of a collection: ``Features(images: 90; values: 1,280, float32; ...)``."""
    facts = "; ".join(f"{about}: {text}" for about, text in facts_of(collection).items())
    return f"{type(collection).__name__}({facts})"


def as_html(collection: Any) -> str:
    """Return a table of the facts for a notebook, everything escaped."""
    return html_table([[type(collection).__name__, ""], *map(list, facts_of(collection).items())])
