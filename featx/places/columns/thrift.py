"""Read structures in Thrift's compact protocol, in which Parquet files describe themselves."""

from __future__ import annotations

import struct
from typing import Any

# A description that is nested deeper is damaged.
_DEEPEST = 32
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE = (4, 5, 6)  # of 16, 32 and 64 bits


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a structure by number, and where it ends.

    `IndexError` where the data ends before it; `ValueError` where it is damaged.
    """
    fields: dict[int, Any] = {}
    number = 0
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _whole(data, at)
        kind = head & 15
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _WHOLE:
        return _whole(data, at)
    if kind == _BINARY:
        length, at = _unsigned(data, at)
        if at + length > len(data):
            raise IndexError("a string ends early")
        return data[at : at + length], at + length
    if kind == _STRUCT:
        return read_struct(data, at, depth + 1)
    if kind in (_LIST, _SET):
        return _list(data, at, depth + 1)
    if kind in (_TRUE, _FALSE, _BYTE):
        return data[at], at + 1
    if kind == _DOUBLE:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == _MAP:
        return _map(data, at, depth + 1)
    raise ValueError(f"no type {kind}")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    head = data[at]
    length, at = (head >> 4, at + 1) if head >> 4 != 15 else _unsigned(data, at + 1)
    if length > len(data) - at or depth > _DEEPEST:  # each element takes a byte or more
        raise IndexError("a list ends early")
    values = []
    for _ in range(length):
        value, at = _value(data, at, head & 15, depth)
        values.append(value)
    return values, at


def _map(data: bytes, at: int, depth: int) -> tuple[dict[Any, Any], int]:
    length, at = _unsigned(data, at)
    found: dict[Any, Any] = {}
    if not length:
        return found, at
    kinds, at = data[at], at + 1
    if length > len(data) - at or depth > _DEEPEST:
        raise IndexError("a map ends early")
    for _ in range(length):
        key, at = _value(data, at, kinds >> 4, depth)
        found[key], at = _value(data, at, kinds & 15, depth)
    return found, at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _whole(data: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(data, at)
    return (value >> 1) ^ -(value & 1), at
