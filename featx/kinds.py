"""The kinds of input, and the words for numbers of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: All kinds, as nouns in the singular; a clip is a piece of audio.
KINDS = ("image", "text", "clip")


def kind_of(identity: Any) -> str:
    """Return the kind of input that the `identity` of a preparation states: without a word, images."""
    kind = identity.get("kind") if isinstance(identity, Mapping) else None
    return kind if kind in KINDS else "image"


def with_article(kind: str) -> str:
    """Return a kind of input with its article: ``"an image"``, ``"a text"``."""
    return f"{'an' if kind[0] in 'aeio' else 'a'} {kind}"


def picture_of(kind: str) -> str:
    """Return the word for what an input and its copies show: ``"picture"`` for images, else the kind."""
    return "picture" if kind == "image" else kind


def count_of(n: int, kind: str = "image") -> str:
    """Return a number of inputs in words, such as ``"1 image"`` or ``"1,200 texts"``."""
    return f"{n:,} {kind if n == 1 else kind + 's'}"
