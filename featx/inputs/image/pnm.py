"""Decode PPM, PGM and PBM (netpbm), binary or plain, of up to 16 bits.

Pillow decodes all but the commonest of them in a Python loop: minutes for a large file. Values are divided by
the largest that the header names, scaled to 0..255 and rounded. Of several pictures the first is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np

from featx.inputs.image.structure import Damaged

_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NUMBER = _SPACE + rb"(\d{1,9})"
# One white space ends the header; the pixels after it may look like white space, too.
_END = rb"(?:#[^\r\n]*)?\s"
_HEADER = re.compile(rb"P[2356]" + 3 * _NUMBER + _END)
_BITMAP_HEADER = re.compile(rb"P[14]" + 2 * _NUMBER + _END)
# Bytes of a header with comments; a search for its end must not read a whole large file.
_LONGEST_HEADER = 2**16

# Plain numbers become Python objects, some 100 ns and 40 bytes each.
_MAX_PLAIN = 2**23
# Values that are converted at a time, so that temporary arrays stay small.
_STRIP = 2**20


def decode_pnm(data: bytes, check_size: Callable[[int, int], object]) -> np.ndarray:
    """Return the RGB pixels of a netpbm file, uint8 (h, w, 3); `Damaged` if it is broken or ends early.

    `check_size` is called with (height, width) before memory is allocated, to raise if that is too large.
    """
    kind = data[1:2]
    bitmap = kind in b"14"
    header = (_BITMAP_HEADER if bitmap else _HEADER).match(data, 0, _LONGEST_HEADER)
    if header is None:
        raise Damaged("damaged PNM: its header does not give width, height and largest value")
    width, height, top = int(header[1]), int(header[2]), 1 if bitmap else int(header[3])
    if width == 0 or height == 0 or not 0 < top < 2**16:
        raise Damaged(f"damaged PNM: {width} x {height} pixels of values up to {top}")
    shape = (height, width, 3 if kind in b"36" else 1)
    if kind in b"123" and (count := math.prod(shape)) > _MAX_PLAIN:
        raise Damaged(
            f"too large: {count:,} numbers of a plain PNM, the limit is {_MAX_PLAIN:,}; save it as binary"
        )
    check_size(height, width)
    if kind in b"123":
        values = _read_plain(data, header.end(), height * width * shape[2], bitmap)
    elif bitmap:
        packed = _read_binary(data, header.end(), height * -(-width // 8), np.dtype(np.uint8))
        values = np.unpackbits(packed.reshape(height, -1), axis=1, count=width).reshape(-1)
    else:
        dtype = np.dtype(np.uint8) if top < 256 else np.dtype(">u2")
        values = _read_binary(data, header.end(), height * width * shape[2], dtype)
    grey = (np.arange(top + 1) * 510 + top) // (2 * top)
    pixels = _look_up(values, grey[::-1] if bitmap else grey).reshape(shape)
    return pixels if shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def _read_binary(data: bytes, start: int, count: int, dtype: np.dtype) -> np.ndarray:
    if start + count * dtype.itemsize > len(data):
        raise Damaged("truncated PNM: the file ends before its image does")
    return np.frombuffer(data, dtype, count, start)


def _read_plain(data: bytes, start: int, count: int, bitmap: bool) -> np.ndarray:
    """Read decimal numbers between white space, which the digits of a bitmap do without."""
    if (count if bitmap else 2 * count - 1) > len(data) - start:
        raise Damaged("truncated PNM: the file ends before its image does")
    body = re.sub(rb"#[^\r\n]*", b"", data[start:])
    if bitmap:
        digits = np.frombuffer(body.translate(None, b" \t\r\n\v\f"), np.uint8)[:count]
        values = digits.astype(np.int64) - ord("0")
    else:
        words = body.split(maxsplit=count)[:count]
        if not all(len(word) <= 5 and word.isdigit() for word in words):
            raise Damaged("damaged PNM: a pixel is not a number of at most five digits")
        values = np.array([int(word) for word in words], np.int64)
    if len(values) < count:
        raise Damaged("truncated PNM: the file ends before its image does")
    if bitmap and not (values.min() >= 0 and values.max() <= 1):
        raise Damaged("damaged PNM: a pixel is neither 0 nor 1")
    return values


def _look_up(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the grey level of each value; a value above the largest counts as the largest."""
    table = table.astype(np.uint8)
    if len(table) == 256 and values.dtype == np.uint8 and table[1] == 1:
        return values.copy()
    out = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _STRIP):
        strip = values[start : start + _STRIP]
        out[start : start + _STRIP] = table[np.minimum(strip, len(table) - 1)]
    return out
