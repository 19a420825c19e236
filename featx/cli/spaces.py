"""Describe the spaces of the cache in words, for several commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from featx.kinds import kind_of

if TYPE_CHECKING:
    from featx.cache import Space


def describe_space(space: Space) -> tuple[str, ...]:
    """Return backbone, layer, size of the input, precision and dtype, for people.

    The size of a text is the most tokens that the network takes, with ``mean`` where it is read in pieces;
    that of a clip its windows.
    """
    from featx.data.features.description import printable

    fields = space.flattened()
    size: Any = fields.get("preprocessing.crop") or fields.get("preprocessing.resize")
    if isinstance(size, list):
        size = "x".join(map(str, size))
    if kind_of(space.fields.get("preprocessing")) == "text":
        size = f"{fields.get('preprocessing.max_length', '?')} tokens"
        size += " mean" if fields.get("preprocessing.long") == "mean" else ""
    elif kind_of(space.fields.get("preprocessing")) == "clip":
        size = _windows(fields)
    weights = fields.get("backbone.weights")
    name = str(fields.get("backbone.architecture", "?")) + (f" {weights}" if weights else "")
    if weights == "none":  # by the name that it is asked for with
        name = f"{fields.get('backbone.source')}:{fields.get('backbone.architecture')}"
    layer = str(fields.get("backbone.layer") or "-")
    cells = (name, layer, size or "-", fields.get("precision", "-"), fields.get("dtype", "-"))
    return tuple(printable(str(cell)) for cell in cells)


def _windows(fields: Mapping[str, Any]) -> str:
    """Return the windows of clips: ``30 s``, or ``1.5 s every 1 s, max``."""
    window, hop, join = (fields.get(f"preprocessing.{name}") for name in ("window", "hop", "join"))
    if window is None:
        return "whole clips"
    said = f"{window} s" + ("" if hop in (None, window) else f" every {hop} s")
    return said if join in (None, "mean") else f"{said}, {join}"
