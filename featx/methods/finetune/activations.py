"""Store the frozen part's output for images that come again unchanged.

Up to `MEMORY_BYTES` are stored in memory. Larger outputs go to a temporary file that is mapped into memory,
if the file takes no more than half of the free space on the disk.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

#: Output of the frozen part of a network, and input of the trained part: tensors with the batch first.
Parts = tuple[torch.Tensor, ...]

#: Most bytes in memory for the validation images; as many again for the training and for the proxy images.
MEMORY_BYTES = 1 << 30
#: Largest share of the free space of the temporary folder's disk that the files take.
DISK_SHARE = 0.5


class Activations:
    """Store frozen activations by the position of the image; their dtype is unchanged.

    Parameters
    ----------
    positions : ndarray of shape (n,)
        Positions of the images, each once.
    sample : tuple of torch.Tensor
        Activations of some images; they give the shapes and dtypes.
    on_disk : bool
        Use a temporary file, which is deleted with this object.
    """

    def __init__(self, positions: np.ndarray, sample: Parts, *, on_disk: bool = False):
        self._row = np.full(int(positions.max()) + 1, -1, np.int64)
        self._row[positions] = np.arange(len(positions))
        self.on_disk = on_disk
        self._folder = Path(tempfile.mkdtemp(prefix="featx-")) if self.on_disk else None
        if self._folder is not None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._parts = tuple(self._allocate(i, len(positions), part) for i, part in enumerate(sample))

    def _allocate(self, number: int, n: int, part: torch.Tensor) -> torch.Tensor:
        shape = (n, *part.shape[1:])
        if self._folder is None:
            return torch.empty(shape, dtype=part.dtype, device=part.device)
        path = str(self._folder / f"{number}")
        size = n * part[0].numel()
        return torch.from_file(path, shared=True, size=size, dtype=part.dtype).view(shape)

    def put(self, positions: np.ndarray, parts: Parts) -> None:
        """Store the activations of these images."""
        rows = torch.from_numpy(self._row[positions])
        for stored, part in zip(self._parts, parts, strict=True):
            stored[rows.to(stored.device)] = part.to(stored.device)

    def get(self, positions: np.ndarray, device: torch.device) -> Parts:
        """Return the activations of these images, on the device."""
        rows = torch.from_numpy(self._row[positions])
        return tuple(part.index_select(0, rows.to(part.device)).to(device) for part in self._parts)


def bytes_needed(sample: Parts, n: int) -> int:
    """Return how many bytes the activations of `n` images take."""
    return n * sum(part[0].numel() * part.element_size() for part in sample)


def store_activations(
    positions: np.ndarray, found: Iterable[tuple[np.ndarray, Parts]], *, stores: int = 1
) -> tuple[Activations | None, int]:
    """Store the pairs (positions, parts) of `found`; return the store and the number of images read.

    `stores` such stores share the memory. Without room for all of `positions` the store is None, and only the
    first pair has been read.
    """
    store, images = None, 0
    for rows, parts in found:
        images += len(rows)
        if store is None:
            size, memory = bytes_needed(parts, len(positions)), MEMORY_BYTES // stores
            if size > memory and not _disk_has(size):
                return None, images
            store = Activations(positions, parts, on_disk=size > memory)
        store.put(rows, parts)
    return store, images


def _disk_has(size: int) -> bool:
    return size <= DISK_SHARE * shutil.disk_usage(tempfile.gettempdir()).free
