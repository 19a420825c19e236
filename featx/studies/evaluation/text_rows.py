"""Texts as rows of a study: read once, counted once, and then forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.inputs import Source

if TYPE_CHECKING:
    from featx.methods.probes.term_counts import TermCounts


class TextRows:
    """Texts, of which the counts of terms are the rows (`featx.methods.probes.term_counts`).

    Parameters
    ----------
    sources : sequence of Source
        One for each row. They are read when the first digest or count is needed; the texts are kept until
        they have been counted.

    Attributes
    ----------
    shape : (n, 1)
        The text is the only feature.
    """

    def __init__(self, sources: Sequence[Source]):
        self._texts = _Texts(sources)
        self._at = np.arange(len(sources))

    def take(self, rows: np.ndarray) -> TextRows:
        """Return some of the rows, by position; what was read and counted is shared."""
        found = TextRows.__new__(TextRows)
        found._texts, found._at = self._texts, self._at[rows]
        return found

    def __len__(self) -> int:
        return len(self._at)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), 1

    @property
    def digests(self) -> np.ndarray:
        """The digest of each text, ndarray of shape (n,), dtype V32."""
        return self._texts.digests[self._at]

    @property
    def definition(self) -> dict[str, tuple[int, int]]:
        """What is counted, as a part of the key of a cell."""
        from featx.methods.probes.term_counts import CHARACTERS, WORDS

        return {"words": WORDS, "characters": CHARACTERS}

    @property
    def characters(self) -> float:
        """The mean number of characters of all texts that were read together."""
        return self._texts.characters

    def __getitem__(self, rows: np.ndarray) -> TermCounts:
        """Return the counts of some texts, by position."""
        return self._texts.counts[self._at[rows]]


class _Texts:
    """Texts, read and counted when first needed; cells run in threads."""

    def __init__(self, sources: Sequence[Source]):
        self._sources, self._lock = sources, threading.Lock()
        self._kept: list[str] | None = None
        self._digests: np.ndarray | None = None
        self._characters = 0.0
        self._counts: TermCounts | None = None

    def __getstate__(self) -> dict[str, Any]:
        # The texts are counted once, by the sender, and nobody else has to be able to read them.
        counts = self.counts
        return {"_digests": self.digests, "_characters": self.characters, "_counts": counts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _sources=(), _kept=None, _lock=threading.Lock())

    @property
    def digests(self) -> np.ndarray:
        with self._lock:
            self._read()
            assert self._digests is not None
            return self._digests

    @property
    def characters(self) -> float:
        with self._lock:
            self._read()
            return self._characters

    @property
    def counts(self) -> TermCounts:
        from featx.methods.probes.term_counts import count_terms

        with self._lock:
            if self._counts is None:
                self._read()
                assert self._kept is not None
                self._counts, self._kept = count_terms(self._kept), None
            return self._counts

    def _read(self) -> None:
        if self._digests is not None:
            return
        found = [source.read() for source in self._sources]
        self._digests = np.frombuffer(b"".join(content.digest for content in found), "V32")
        self._kept = [content.text for content in found]  # type: ignore[attr-defined]
        self._characters = float(np.mean([len(text) for text in self._kept]))
