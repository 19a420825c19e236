"""How a text becomes tokens: prefix, tokenizer, the longest length, and what happens to longer texts.

A prepared text is int32 (pieces, length): the numbers of its tokens, special tokens included. `PADDING`
stands behind the end of shorter pieces, always on the right; the network masks it, so that it changes no row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from featx.errors import InputError, TextError
from featx.inputs import LONGER
from featx.inputs.text import reference_texts
from featx.inputs.text.source import TextContent
from featx.options.table import LONG

#: Stands behind the end of a text in a batch; no token has this number.
PADDING = -1
#: Most characters of a prefix; it stands in the description of every space.
MOST_PREFIX = 2000
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer(Protocol):
    """Turns texts into numbers of tokens; any thread may call it.

    Attributes
    ----------
    sha256 : str
        Hash of all files and settings that it consists of.
    """

    sha256: str

    def encode(self, text: str, max_length: int) -> list[list[int]]:
        """Return the tokens of a text in pieces of at most `max_length`, each with its special tokens."""


@dataclass(frozen=True)
class TextPreparation:
    """The preparation of texts for a network (`featx.inputs.Preparation`).

    Parameters
    ----------
    tokenizer : Tokenizer
    max_length : int
        Most tokens that the network takes at a time, special tokens included.
    prefix : str, default=""
        Stands before every text, such as ``"query: "``, as the network was trained.
    long : {"cut", "mean"}, default="cut"
        A text with more tokens is cut off, or split into pieces whose rows are averaged, weighted by their
        tokens.
    """

    kind: ClassVar[str] = "text"
    stages: ClassVar[tuple[str, ...]] = ("tokenize",)
    reference_version: ClassVar[int] = reference_texts.VERSION
    in_pieces: ClassVar[bool] = True
    masks: ClassVar[bool] = True
    padding: ClassVar[int] = PADDING

    tokenizer: Tokenizer = field(repr=False)
    max_length: int = 512
    prefix: str = ""
    long: str = "cut"

    def __post_init__(self) -> None:
        length = self.max_length
        if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < 4:
            raise InputError(f"preprocessing: max_length must be at least 4 tokens, got {length!r}")
        object.__setattr__(self, "max_length", int(length))
        if not isinstance(self.prefix, str):
            raise InputError(f"preprocessing: prefix must be a text, got {self.prefix!r:.60}")
        if len(self.prefix) > MOST_PREFIX or "\0" in self.prefix or _SURROGATE.search(self.prefix):
            raise InputError(
                f"preprocessing: prefix must be a text of at most {MOST_PREFIX} characters without null "
                f"bytes and lone surrogates, got {self.prefix!r:.60}"
            )
        if self.long not in LONG:
            raise InputError(f"preprocessing: long must be {' or '.join(LONG)}, got {self.long!r}")

    @property
    def shape(self) -> tuple[None]:
        """The length of a piece varies."""
        return (None,)

    @property
    def dtype(self) -> np.dtype:
        """int32."""
        return np.dtype(np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of a prepared text of one piece."""
        return 4 * self.max_length

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes the tokens, as plain JSON data."""
        return {"kind": self.kind, "tokenizer": self.tokenizer.sha256, **self.to_dict()}

    def require_place(self, name: str) -> None:
        """Refuse a prefix that leaves no place for a text: all rows would be the same."""
        if self.prefix and len(self.tokenizer.encode(self.prefix, self.max_length - 1)) > 1:
            raise InputError(
                f"{name}: the prefix {self.prefix!r:.60} takes up all of max_length={self.max_length}, with "
                "no place left for a text; give a shorter prefix or a larger max_length"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data; the tokenizer belongs to the network."""
        return {"max_length": self.max_length, "prefix": self.prefix, "long": self.long}

    @classmethod
    def fields_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of `to_dict` in the `identity` that a space states."""
        return {name: value for name, value in identity.items() if name not in ("kind", "tokenizer")}

    def changed(self, settings: Mapping[str, Any]) -> TextPreparation:
        """Return the same preparation with other settings; `InputError` names one that there is not."""
        known = self.to_dict()
        wrong = [name for name in settings if name not in known]
        if wrong:
            raise InputError(
                f"preprocessing: unknown setting {wrong[0]!r} of texts; expected {', '.join(known)}"
            )
        return replace(self, **settings)

    def prepare(
        self,
        content: TextContent,
        out: np.ndarray | None = None,
        note: Callable[[str], object] | None = None,
    ) -> np.ndarray:
        """Return the tokens of a text, int32 (pieces, length); arguments as in `featx.inputs.Preparation`."""
        try:
            pieces = self.tokenizer.encode(self.prefix + content.text, self.max_length)
        except InputError as error:
            raise TextError(content.id, str(error)) from error
        if not pieces or not pieces[0]:
            raise TextError(content.id, "the tokenizer finds no token in this text")
        if len(pieces) == 1 or self.long == "cut":
            prepared = np.array(pieces[:1], np.int32)
        else:
            prepared = self.collate([np.array(piece, np.int32) for piece in pieces])
        if note is not None:
            if len(pieces) > 1:
                note(LONGER)
            note("tokenize")
        return prepared

    def collate(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Join pieces (length,) into a batch, int32 (b, longest), without columns of padding alone."""
        lengths = [int((piece != PADDING).sum()) for piece in prepared]
        batch = np.full((len(prepared), max(lengths)), PADDING, np.int32)
        for row, piece, length in zip(batch, prepared, lengths, strict=True):
            row[:length] = piece[:length]
        return batch

    def join(self, rows: np.ndarray, prepared: np.ndarray) -> np.ndarray:
        """Return the mean (dim,) of the rows of a text's pieces, weighted by their numbers of tokens."""
        if len(rows) == 1:
            return rows[0]
        weights = (prepared != PADDING).sum(axis=1).astype(np.float64)
        mean: np.ndarray = weights @ rows / weights.sum()
        return mean.astype(np.float32)

    def joined_dim(self, dim: int) -> int:
        """Return `dim`: the row of a text is a mean of those of its pieces."""
        return dim

    def reference_batch(self, count: int) -> np.ndarray:
        """Return the tokens of `featx.inputs.text.reference_texts`, int32 (count, longest)."""
        texts = reference_texts.reference_texts(count)
        return self.collate([np.array(self.tokenizer.encode(t, self.max_length)[0], np.int32) for t in texts])

    def share_memory(self, processes: int, alone: Callable[[], AbstractContextManager]) -> None:
        """Do nothing: texts are small."""
