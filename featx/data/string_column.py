"""`StringColumn`: many texts, such as ids and paths, in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np

# Texts that are joined or decoded at a time.
_BLOCK = 4096


class StringColumn(Sequence[str]):
    """Texts in order, as one block of UTF-8 and where each ends: their bytes and 8 bytes for each.

    It equals a list of the same texts. A text that is no valid Unicode is kept as Python decodes file names
    (``surrogateescape``).

    Parameters
    ----------
    data : ndarray of shape (n_bytes,), uint8
        All texts, one behind the other.
    ends : ndarray of shape (n + 1,), int64
        0, and where each text ends.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self._data, self._ends = data, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> StringColumn:
        """Return a column of these texts, which are gone through once."""
        if isinstance(texts, StringColumn):
            return texts
        blob, lengths = bytearray(), bytearray()
        block: list[bytes] = []
        for text in texts:
            block.append(text.encode("utf-8", "surrogateescape"))
            if len(block) == _BLOCK:
                _pack(block, blob, lengths)
        _pack(block, blob, lengths)
        return cls.of_lengths(np.frombuffer(bytes(blob), np.uint8), np.frombuffer(lengths, np.int64))

    @classmethod
    def of_array(cls, texts: np.ndarray) -> StringColumn:
        """Return a column of an array of texts (dtype ``U``)."""
        blocks = (texts[at : at + _BLOCK].tolist() for at in range(0, len(texts), _BLOCK))
        return cls.of(text for block in blocks for text in block)

    @classmethod
    def of_bytes(cls, texts: Iterable[np.ndarray | Sequence[bytes]]) -> StringColumn:
        """Return a column of texts that come in blocks: as bytes, or as arrays of dtype ``S``."""
        blob, lengths = bytearray(), bytearray()
        for block in texts:
            if isinstance(block, np.ndarray) and block.dtype.kind == "S":
                width = block.dtype.itemsize
                sizes = np.char.str_len(block).astype(np.int64)
                cells = np.ascontiguousarray(block).view(np.uint8).reshape(len(block), width)
                blob += cells[np.arange(width) < sizes[:, None]].tobytes()
                lengths += sizes.tobytes()
            else:
                _pack(list(block), blob, lengths)
        return cls.of_lengths(np.frombuffer(bytes(blob), np.uint8), np.frombuffer(lengths, np.int64))

    @classmethod
    def of_lengths(cls, data: np.ndarray, lengths: np.ndarray) -> StringColumn:
        """Return a column of texts that lie one behind the other, by their lengths in bytes."""
        ends = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        return cls(data, ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds, about."""
        return int(self._ends[-1] - self._ends[0]) + self._ends.nbytes

    @property
    def lengths(self) -> np.ndarray:
        """The bytes of each text, (n,) int64."""
        return np.diff(self._ends)

    @overload
    def __getitem__(self, which: int) -> str: ...
    @overload
    def __getitem__(self, which: slice) -> StringColumn: ...
    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            return StringColumn(self._data, self._ends[start : max(start, stop) + 1])
        i = range(len(self))[which]
        return self._data[self._ends[i] : self._ends[i + 1]].tobytes().decode("utf-8", "surrogateescape")

    def take(self, rows: np.ndarray) -> StringColumn:
        """Return the texts at `rows` (whole numbers), in that order."""
        rows = np.asarray(rows, np.int64)
        starts, lengths = self._ends[:-1][rows], np.diff(self._ends)[rows]
        ends = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        data = np.empty(int(ends[-1]), np.uint8)
        for at in range(0, len(rows), _BLOCK):
            to = min(at + _BLOCK, len(rows))
            # Byte j of the result comes from j plus how far its text moves.
            moved = np.repeat(starts[at:to] - ends[at:to], lengths[at:to])
            data[ends[at] : ends[to]] = self._data[np.arange(ends[at], ends[to]) + moved]
        return StringColumn(data, ends)

    def encoded(self, step: int = _BLOCK) -> Iterator[list[bytes]]:
        """Yield the texts as UTF-8, in blocks of `step`."""
        for at in range(0, len(self), step):
            ends = self._ends[at : at + step + 1]
            first = int(ends[0])
            data = self._data[first : ends[-1]].tobytes()
            yield [data[a:b] for a, b in pairwise((ends - first).tolist())]

    def __iter__(self) -> Iterator[str]:
        for block in self.encoded():
            for text in block:
                yield text.decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringColumn):
            mine, theirs = (column._data[column._ends[0] : column._ends[-1]] for column in (self, other))
            return np.array_equal(self.lengths, other.lengths) and np.array_equal(mine, theirs)
        if not isinstance(other, list):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Sequence[str]) -> list[str]:
        return [*self, *other]

    def __radd__(self, other: Sequence[str]) -> list[str]:
        return [*other, *self]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(list(self), dtype=np.str_ if dtype is None and not len(self) else dtype)

    def __repr__(self) -> str:
        if len(self) <= 10:
            return repr(list(self))
        return f"[{', '.join(map(repr, self[:3]))}, ..., {self[-1]!r}] ({len(self):,} texts)"

    def __reduce__(self) -> tuple[Any, ...]:
        first, last = int(self._ends[0]), int(self._ends[-1])
        return StringColumn, (self._data[first:last], self._ends - first)  # of a slice, its own bytes only

    def holds(self, byte: bytes) -> bool:
        """Whether a text contains a byte."""
        value = np.uint8(byte[0])
        first, last = int(self._ends[0]), int(self._ends[-1])
        return any(
            (self._data[at : min(at + 2**22, last)] == value).any() for at in range(first, last, 2**22)
        )

    def first_repeated(self) -> int | None:
        """Return the first position whose text came before; None if all are distinct.

        Texts are compared where their hashes are equal: 16 bytes a text, and no set of strings.
        """
        hashes = np.fromiter(map(hash, self), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        sorted_hashes = hashes[order]
        same = np.flatnonzero(sorted_hashes[1:] == sorted_hashes[:-1])
        if not len(same):
            return None
        alike: dict[int, list[int]] = {}
        for at in same.tolist():
            alike.setdefault(int(sorted_hashes[at]), [int(order[at])]).append(int(order[at + 1]))
        repeated = []
        for rows in alike.values():
            seen: set[str] = set()
            for row in rows:
                if (text := self[row]) in seen:
                    repeated.append(row)
                    break
                seen.add(text)
        return min(repeated, default=None)


def take_texts(texts: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """Return the texts at `rows`: a column of a column, a list of a list."""
    return texts.take(rows) if isinstance(texts, StringColumn) else [texts[i] for i in rows.tolist()]


def positions_of(texts: Sequence[str], wanted: Iterable[str]) -> dict[str, int]:
    """Return where each of the texts `wanted` stands in `texts`, without those that do not."""
    asked = set(wanted)
    return {text: i for i, text in enumerate(texts) if text in asked}


def _pack(block: list[bytes], blob: bytearray, lengths: bytearray) -> None:
    blob += b"".join(block)
    lengths += np.fromiter(map(len, block), np.int64, len(block)).tobytes()
    block.clear()
