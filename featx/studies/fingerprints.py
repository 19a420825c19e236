"""Fingerprints of inputs: what tells copies of one input apart from inputs that are merely similar.

Each kind of input has its own; the search for copies (`featx.analysis.data_checks.find_near_duplicates`)
takes them without knowing the kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from featx.errors import SourceError
from featx.extraction import embed, pixel_embedder
from featx.inputs import Source
from featx.machine import cores
from featx.options import Run
from featx.studies.units import MOST_IMAGES
from featx.threads import run_in_threads

__all__ = ["Fingerprints", "take_fingerprints"]

#: Texts whose words are in memory at a time: as objects they take many times the room of the text.
_TEXTS_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """The fingerprints of n inputs of one kind.

    Attributes
    ----------
    kind : str
    evidence : ndarray of shape (n, d)
        Of images their shrunken pixels, RGB of a square; of texts the hashes of their words, uint64 (n, 2);
        of clips contents and hashes, uint64 (n, 5). Whoever keeps a search keys it by these values.
    """

    kind: str
    evidence: np.ndarray

    def hashes(self) -> np.ndarray:
        """Return 64-bit hashes, uint64 (n,), that differ in few bits for copies; for clips in none."""
        if self.kind == "text":
            return np.ascontiguousarray(self.evidence[:, 0])
        if self.kind == "clip":
            return self._first_contents
        from featx.inputs.image import perceptual_hashes

        side = math.isqrt(self.evidence.shape[1] // 3)
        return perceptual_hashes(self.evidence.reshape(-1, side, side, 3))

    def contents(self) -> np.ndarray | None:
        """Return what is equal for inputs that are surely the same, uint64 (n,); None where nothing is."""
        if self.kind == "text":
            return np.ascontiguousarray(self.evidence[:, 1])
        return self._first_contents if self.kind == "clip" else None

    @cached_property
    def _first_contents(self) -> np.ndarray:
        """The content of the first copy of each clip: copies are known without their embeddings."""
        from featx.inputs.audio import group_copies

        contents = self.evidence[:, 0]
        groups = group_copies(self.evidence[:, 1:], contents)
        _, firsts, of = np.unique(groups, return_index=True, return_inverse=True)
        return np.ascontiguousarray(contents[firsts[of]])

    def join(self, other: Fingerprints) -> Fingerprints:
        """Return these fingerprints and those of other inputs of the kind."""
        return Fingerprints(self.kind, np.concatenate([self.evidence, other.evidence]))


def take_fingerprints(inputs: Sequence[Source], run: Run) -> Fingerprints | None:
    """Return the fingerprints of inputs of one kind; None if one cannot be read, or there are too many.

    Images are decoded once for each cache; texts and clips are read anew.
    """
    if len(inputs) > MOST_IMAGES:
        return None
    kind = inputs[0].kind if inputs else "image"
    evidence = _TAKE[kind](inputs, run)
    return None if evidence is None else Fingerprints(kind, evidence)


def _shrunken_pixels(images: Sequence[Source], run: Run) -> np.ndarray | None:
    found = embed(images, pixel_embedder(), **run.embedding)
    return found.embeddings if len(found.kept) == len(images) else None


def _words(texts: Sequence[Source], run: Run) -> np.ndarray | None:
    from featx.inputs.text import text_contents, text_hashes, text_words

    found = []
    try:
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            words = [text_words(text.read().text) for text in texts[start : start + _TEXTS_AT_ONCE]]
            found.append(np.column_stack([text_hashes(words), text_contents(words)]))
    except SourceError:
        return None
    return np.concatenate(found)


def _sounds(clips: Sequence[Source], run: Run) -> np.ndarray | None:
    from featx.inputs.audio import clip_content, clip_hash, decode

    def take(clip: Source) -> np.ndarray:
        content: Any = clip.read()
        samples, rate = decode(content)
        return np.array([clip_content(samples, rate), *clip_hash(samples, rate).tolist()], np.uint64)

    try:
        found = run_in_threads(take, [(clip,) for clip in clips], cores())
    except SourceError:
        return None
    return np.stack(found)


_TAKE: dict[str, Any] = {"image": _shrunken_pixels, "text": _words, "clip": _sounds}
