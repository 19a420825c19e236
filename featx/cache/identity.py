"""Identity: which input a row belongs to, and in which space its numbers live.

Two things identify a row. The *digest* of the input's content: a renamed file is the same, an edited one is
another. The *space*, everything that changes the numbers: decoding, preprocessing, architecture, weights,
layer, pooling, precision, dtype. What does not change them (batch size, workers, machine) is not in a space.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from featx.errors import CacheError

__all__ = ["DIGEST_SIZE", "Space", "digest_array", "digest_bytes", "digest_file"]

DIGEST_SIZE = 32
"""Bytes of a content digest (BLAKE2b-256)."""

# BLAKE2b's "person" parameter: a file whose bytes equal an array's header and elements gets another digest.
_ARRAY_PERSON = b"featx-array-1"


def digest_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """Return the content digest of a file's bytes: 32 bytes of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def digest_file(file: BinaryIO) -> bytes:
    """Return the content digest of the bytes of an open file, as `digest_bytes` does, in little memory."""
    state = hashlib.blake2b(digest_size=DIGEST_SIZE)
    while part := file.read(2**20):
        state.update(part)
    return state.digest()


def digest_array(array: np.ndarray) -> bytes:
    """Return the content digest of an array: of its dtype, shape and elements in C order.

    Equal arrays have equal digests, whatever their strides and byte order. An array of Python objects is a
    `TypeError`: its bytes are addresses.
    """
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no content digest: expected a numeric dtype")
    little = array.dtype.newbyteorder("<")
    state = hashlib.blake2b(digest_size=DIGEST_SIZE, person=_ARRAY_PERSON)
    state.update(json.dumps([little.str, list(array.shape)]).encode())
    state.update(np.ascontiguousarray(array, dtype=little).reshape(-1).view(np.uint8).data)
    return state.digest()


class Space(Mapping[str, Any]):
    """Everything that changes an embedding's numbers, as nested fields of JSON data, stored in clear.

    Tuples become lists and NumPy scalars numbers, so that a space read from JSON equals the one written.
    `CacheError` names a field that is no JSON data (an object, a number that is not finite, a key that is not
    a string).

    Examples
    --------
    >>> a = Space({"layer": "avgpool", "preprocessing": {"interpolation": "bilinear"}})
    >>> b = Space({"layer": "avgpool", "preprocessing": {"interpolation": "bicubic"}})
    >>> a.differences(b)
    ['preprocessing.interpolation: bilinear in the cache, bicubic asked for']
    """

    __slots__ = ("_canonical_json", "_id")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        if not isinstance(fields, Mapping):
            raise CacheError(f"a space is a mapping of names to values, got {type(fields).__name__}")
        # The canonical text is the only state, so that what is hashed, stored and compared is the same and
        # nobody can change a nested dict without changing the id.
        self._canonical_json = json.dumps(
            _plain(fields, ""), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        self._id = hashlib.sha256(self._canonical_json.encode("utf-8")).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Space:
        """Return the space that a text of `canonical_json` describes; `CacheError` if it is none."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CacheError(f"not the JSON of a space: {error}") from error
        return cls(fields)

    @property
    def fields(self) -> dict[str, Any]:
        """The nested fields, as a new dict of plain JSON data."""
        fields: dict[str, Any] = json.loads(self._canonical_json)
        return fields

    @property
    def canonical_json(self) -> str:
        """Sorted keys, no spaces, UTF-8: equal spaces have equal text."""
        return self._canonical_json

    @property
    def id(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return self._id

    def flattened(self) -> dict[str, Any]:
        """Return the fields by dotted name, ``{"preprocessing.interpolation": "bilinear", ...}``.

        Lists and empty mappings are values and stay whole.
        """
        return dict(_flat(self.fields, ""))

    def differences(self, other: Space, *, here: str = "in the cache", there: str = "asked for") -> list[str]:
        """Return a line for each field that differs, sorted by dotted name.

        `here` and `there` say in the lines where this and the other space are.
        """
        ours, others = self.flattened(), other.flattened()
        absent = object()
        lines = []
        for name in sorted(ours.keys() | others.keys()):
            mine, theirs = ours.get(name, absent), others.get(name, absent)
            if mine is absent:
                lines.append(f"{name}: nothing {here}, {_shown(theirs)} {there}")
            elif theirs is absent:
                lines.append(f"{name}: {_shown(mine)} {here}, nothing {there}")
            elif _text(mine) != _text(theirs):  # as JSON: 1 is not True, 1 is not 1.0
                lines.append(f"{name}: {_shown(mine)} {here}, {_shown(theirs)} {there}")
        return lines

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space):
            return NotImplemented
        return self._canonical_json == other._canonical_json

    def __hash__(self) -> int:
        return hash(self._canonical_json)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Space.from_json, (self._canonical_json,))

    def __repr__(self) -> str:
        return f"Space({self.fields!r})"


def _plain(value: Any, where: str) -> Any:
    """Return `value` as plain JSON data, or raise `CacheError` naming the field that is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CacheError(f"the space's field {where or '(top)'} is {value}: expected a finite number")
        return value
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CacheError(f"the space's field {where or '(top)'} is not valid Unicode: {error}") from error
        return str(value)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise CacheError(
                    f"the space's field {where or '(top)'} has the key {name!r}: expected a string"
                )
        return {name: _plain(item, f"{where}.{name}".lstrip(".")) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise CacheError(
        f"the space's field {where or '(top)'} is a {type(value).__name__}: "
        "expected JSON data (mapping, list, string, number, true, false, null)"
    )


def _flat(fields: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


_LONGEST = 100  # in messages; a hash has 64 characters


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value else _text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
