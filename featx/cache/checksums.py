"""CRC-32 of rows, and of many rows in one pass.

The checksum of a row is the CRC-32 of its key and its bytes. Checked one by one, each row costs a Python
call; checked together, n rows cost one pass without Python's lock. Both agree because CRC-32 is linear: if
``shift(c, m)`` is the checksum c carried over m zero bytes, ``crc(a‖b) = shift(crc(a), len(b)) ^ crc(b)``. So
the checksum of all rows follows from the keys and the stored checksums. zlib-ng's CRC-32 runs at the speed of
memory; zlib's takes longer than reading the rows.

Source: M. Adler, ``crc32_combine`` of zlib, for carrying by matrices over GF(2).
"""

from __future__ import annotations

import functools

import numpy as np
from zlib_ng.zlib_ng import crc32

__all__ = ["crc32", "crc_of_keys", "crc_of_stretch", "row_crcs"]

_POLYNOMIAL = 0xEDB88320  # CRC-32 (IEEE 802.3), bits reflected


def row_crcs(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of key‖row, uint32 (n,), for keys (n, k) uint8 and C-contiguous rows (n, d)."""
    data = rows.reshape(-1).view(np.uint8).data
    size = rows.shape[1] * rows.itemsize
    starts = crc_of_keys(keys).tolist()
    crcs = [crc32(data[i * size : (i + 1) * size], start) for i, start in enumerate(starts)]
    return np.array(crcs, dtype=np.uint32)


def crc_of_keys(keys: np.ndarray, zeros: int = 0) -> np.ndarray:
    """Return ``shift(crc(key), zeros)`` of keys (n, k) uint8: their CRC-32 carried over `zeros` zero bytes.

    It is linear too: the changes that the bytes of a key make one by one add up.
    """
    tables = _key_tables(keys.shape[1], zeros)
    parts = np.take(tables[1:].reshape(-1), keys + _row_starts(keys.shape[1]))
    crcs: np.ndarray = np.bitwise_xor.reduce(parts, axis=1) ^ tables[0, 0]
    return crcs


def crc_of_stretch(keys: np.ndarray, crcs: np.ndarray, row_bytes: int) -> int:
    """Return the CRC-32 that row 0‖row 1‖… (without keys) has if all rows are intact.

    `keys` (n, k) uint8; `crcs` (n,) uint32 are the stored CRC-32 of each key‖row.
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
    """Return ``shift(crc, size)`` of each checksum."""
    t0, t1, t2, t3 = _shift_tables(size)
    eight = np.uint32(8)
    b1, b2, b3 = crcs >> eight, crcs >> np.uint32(16), crcs >> np.uint32(24)
    carried: np.ndarray = t0[crcs & 0xFF] ^ t1[b1 & 0xFF] ^ t2[b2 & 0xFF] ^ t3[b3]
    return carried


@functools.lru_cache(maxsize=64)
def _key_tables(length: int, zeros: int) -> np.ndarray:
    """Return tables: row 0 is the carried checksum of `length` zero bytes, row 1 + i what byte i adds."""
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
    """Return the shift over `size` zero bytes as four tables, one for each byte of a checksum."""
    columns = _shift_matrix(size)
    byte = np.arange(256, dtype=np.uint32)
    tables = np.zeros((4, 256), dtype=np.uint32)
    for bit in range(32):
        tables[bit // 8][(byte >> np.uint32(bit % 8)) & 1 == 1] ^= np.uint32(columns[bit])
    return tables


def _shift_matrix(size: int) -> list[int]:
    """Return the 32 columns of the shift matrix over GF(2), by repeated squaring of that for one zero bit."""
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
