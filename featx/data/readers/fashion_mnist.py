"""Fashion-MNIST from the four IDX files in which it is published (and which Debian packages).

Xiao, Rasul and Vollgraf, *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*,
2017. The IDX format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each dimension as a
big-endian 32-bit number, then the values. Debian ships .gz files, which torchvision's reader does not open.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from featx.errors import DatasetError

# fmt: off
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)
# fmt: on
_PARTS = {"train": "train", "test": "t10k"}


def find_files(folder: Path) -> dict[str, tuple[Path, Path]] | None:
    """Return (images, labels) of each split, gzipped or not; None if one of the four files is missing."""
    found = {}
    for split, part in _PARTS.items():
        names = [folder / f"{part}-{kind}" for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        pair = [
            next((p for p in (name.with_name(f"{name.name}.gz"), name) if p.is_file()), None)
            for name in names
        ]
        if pair[0] is None or pair[1] is None:
            return None
        found[split] = (pair[0], pair[1])
    return found


def read_idx(file: Path, n_dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not; `DatasetError` if it is damaged or another file."""
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error
    header = 4 + 4 * n_dimensions
    if data[:4] != bytes([0, 0, 8, n_dimensions]) or len(data) < header:
        raise DatasetError(f"{file}: not an IDX file of {n_dimensions}-dimensional bytes")
    shape = struct.unpack_from(f">{n_dimensions}I", data, 4)
    if len(data) != header + prod(shape):
        raise DatasetError(
            f"{file}: {len(data)} bytes, but its header of shape {shape} needs {header + prod(shape)}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_fashion_mnist(files: dict[str, tuple[Path, Path]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read images (n, h, w) and labels (n,) of each split, both uint8."""
    read = {}
    for split, (image_file, label_file) in files.items():
        images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
        if len(images) != len(labels):
            raise DatasetError(
                f"{label_file}: {len(labels)} labels for the {len(images)} images of {image_file.name}"
            )
        if labels.size and labels.max() >= len(CLASSES):
            raise DatasetError(f"{label_file}: label {labels.max()}, expected 0 to {len(CLASSES) - 1}")
        read[split] = (images, labels)
    return read
