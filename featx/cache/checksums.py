"""CRC-32 of rows, and of many rows in one go.

The checksum of a row is CRC-32 over its key and its bytes. Checked one by one, a row costs a call of
Python; checked as one stretch, n rows cost one pass outside of Python's lock. Both say the same,
because CRC-32 is linear: with ``shift(c, m)`` the checksum c carried over m zero bytes,
``crc(a‖b) = shift(crc(a), len(b)) ^ crc(b)``. So what the whole stretch must have follows from the
keys and from what is stored for each row. The pass is zlib-ng's, at the speed of memory; zlib's own
takes longer than reading the rows.

Source: M. Adler, ``crc32_combine`` of zlib, for the carrying by matrices over GF(2).
"""

from __future__ import annotations

import functools

import numpy as np
from zlib_ng.zlib_ng import crc32

__all__ = ["crc32", "crc_of_keys", "crc_of_stretch", "row_crcs"]

_POLYNOMIAL = 0xEDB88320  # CRC-32 (IEEE 802.3), bits reflected


def row_crcs(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The checksum of each row with its key.

    Parameters
    ----------
    keys : ndarray of shape (n, k), dtype uint8
    rows : ndarray of shape (n, d), C-contiguous

    Returns
    -------
    ndarray of shape (n,), dtype uint32
        CRC-32 of key‖row.
    """
    data = rows.reshape(-1).view(np.uint8).data
    size = rows.shape[1] * rows.itemsize
    starts = crc_of_keys(keys).tolist()
    crcs = [crc32(data[i * size : (i + 1) * size], start) for i, start in enumerate(starts)]
    return np.array(crcs, dtype=np.uint32)


def crc_of_keys(keys: np.ndarray, zeros: int = 0) -> np.ndarray:
    """The checksum of each key, followed by some zero bytes.

    Parameters
    ----------
    keys : ndarray of shape (n, k), dtype uint8
    zeros : int, default=0
        Number of zero bytes over which the checksum is carried.

    Returns
    -------
    ndarray of shape (n,), dtype uint32
        ``shift(crc(key), zeros)``. Linear too: every byte adds what it alone would change.
    """
    tables = _key_tables(keys.shape[1], zeros)
    parts = np.take(tables[1:].reshape(-1), keys + _row_starts(keys.shape[1]))
    crcs: np.ndarray = np.bitwise_xor.reduce(parts, axis=1) ^ tables[0, 0]
    return crcs


def crc_of_stretch(keys: np.ndarray, crcs: np.ndarray, row_bytes: int) -> int:
    """What rows that lie one after the other have as their common checksum, if all are intact.

    Parameters
    ----------
    keys : ndarray of shape (n, k), dtype uint8
        The key of each row.
    crcs : ndarray of shape (n,), dtype uint32
        What is stored for each: the CRC-32 of key‖row.
    row_bytes : int
        Length of a row.

    Returns
    -------
    int
        CRC-32 of row 0‖row 1‖…, without the keys.
    """
    folded = crcs ^ crc_of_keys(keys, row_bytes)
    size = row_bytes
    while len(folded) > 1:
        if len(folded) % 2:  # the checksum of nothing is 0, and so is 0 carried on: put it in front
            folded = np.concatenate([np.zeros(1, np.uint32), folded])
        folded = _carried(folded[0::2], size) ^ folded[1::2]
        size *= 2
    return int(folded[0]) if len(folded) else 0


def _carried(crcs: np.ndarray, size: int) -> np.ndarray:
    """``shift(crc, size)`` of each checksum."""
    t0, t1, t2, t3 = _shift_tables(size)
    eight = np.uint32(8)
    b1, b2, b3 = crcs >> eight, crcs >> np.uint32(16), crcs >> np.uint32(24)
    carried: np.ndarray = t0[crcs & 0xFF] ^ t1[b1 & 0xFF] ^ t2[b2 & 0xFF] ^ t3[b3]
    return carried


@functools.lru_cache(maxsize=64)
def _key_tables(length: int, zeros: int) -> np.ndarray:
    """Row 0 begins with the checksum of `length` zero bytes, carried on; row 1 + i is what byte i adds."""
    nothing = crc32(bytes(length))
    tables = np.zeros((1 + length, 256), dtype=np.uint32)
    tables[0] = nothing
    for i in range(length):
        for value in range(256):
            key = bytes(i) + bytes([value]) + bytes(length - i - 1)
            tables[1 + i, value] = crc32(key) ^ nothing
    return _carried(tables, zeros)


@functools.cache
def _row_starts(length: int) -> np.ndarray:
    return np.arange(0, 256 * length, 256, dtype=np.intp)


@functools.lru_cache(maxsize=256)
def _shift_tables(size: int) -> np.ndarray:
    """Carrying over `size` zero bytes as four tables, one for each byte of a checksum."""
    columns = _shift_matrix(size)
    byte = np.arange(256, dtype=np.uint32)
    tables = np.zeros((4, 256), dtype=np.uint32)
    for bit in range(32):
        tables[bit // 8][(byte >> np.uint32(bit % 8)) & 1 == 1] ^= np.uint32(columns[bit])
    return tables


def _shift_matrix(size: int) -> list[int]:
    """The 32 columns of the matrix over GF(2), by repeated squaring of that for one zero bit."""
    result = [1 << bit for bit in range(32)]
    power = [_POLYNOMIAL] + [1 << bit for bit in range(31)]
    bits = 8 * size
    while bits:
        if bits & 1:
            result = [_times(power, column) for column in result]
        power = [_times(power, column) for column in power]
        bits >>= 1
    return result


def _times(matrix: list[int], vector: int) -> int:
    product = 0
    for column in matrix:
        if vector & 1:
            product ^= column
        vector >>= 1
    return product
