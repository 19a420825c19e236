"""Keep the output of the frozen part of a network for images that come again unchanged.

Up to `MEMORY_BYTES` it stays in memory. Beyond that it goes to a temporary file that is mapped into memory,
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

Parts = tuple[torch.Tensor, ...]

#: Most bytes in memory for the validation images; as many for the training and for the proxy images.
MEMORY_BYTES = 1 << 30
#: Most of the free space of the temporary folder's disk that the files take.
DISK_SHARE = 0.5


class Activations:
    """Frozen activations of images, by the position of the image.

    Parameters
    ----------
    positions : ndarray of shape (n,)
        Of the images, each of them once.
    sample : tuple of torch.Tensor
        Activations of some images, batch first; they say how many bytes one image takes.
    on_disk : bool
        Whether a temporary file holds them. It is deleted with this object.

    Notes
    -----
    The dtype stays that of the frozen part's output.
    """

    def __init__(self, positions: np.ndarray, sample: Parts, *, on_disk: bool = False):
        self._row = np.full(int(positions.max()) + 1, -1, np.int64)
        self._row[positions] = np.arange(len(positions))
        self.on_disk = on_disk
        self._folder = Path(tempfile.mkdtemp(prefix="featx-")) if self.on_disk else None
        if self._folder is not None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._parts = tuple(self._room(i, len(positions), part) for i, part in enumerate(sample))

    def _room(self, number: int, n: int, part: torch.Tensor) -> torch.Tensor:
        shape = (n, *part.shape[1:])
        if self._folder is None:
            return torch.empty(shape, dtype=part.dtype, device=part.device)
        path = str(self._folder / f"{number}")
        size = n * part[0].numel()
        return torch.from_file(path, shared=True, size=size, dtype=part.dtype).view(shape)

    def put(self, positions: np.ndarray, parts: Parts) -> None:
        """Store the activations of these images."""
        rows = torch.from_numpy(self._row[positions])
        for room, part in zip(self._parts, parts, strict=True):
            room[rows.to(room.device)] = part.to(room.device)

    def get(self, positions: np.ndarray, device: torch.device) -> Parts:
        """Return the activations of these images, on the device."""
        rows = torch.from_numpy(self._row[positions])
        return tuple(part.index_select(0, rows.to(part.device)).to(device) for part in self._parts)


def bytes_needed(sample: Parts, n: int) -> int:
    """Return how many bytes the activations of `n` images take."""
    return n * sum(part[0].numel() * part.element_size() for part in sample)


def keep_activations(
    positions: np.ndarray, found: Iterable[tuple[np.ndarray, Parts]], *, stores: int = 1
) -> tuple[Activations | None, int]:
    """Store what `found` gives for `positions`, if there is room for it.

    Parameters
    ----------
    positions : ndarray of shape (n,)
    found : iterable of (positions, parts)
        Read no further than its first batch where there is no room for the whole.
    stores : int
        How many such stores there will be at once; they share the memory.

    Returns
    -------
    activations : Activations or None
        None where there is no room.
    images : int
        How many images `found` gave.
    """
    kept, images = None, 0
    for rows, parts in found:
        images += len(rows)
        if kept is None:
            size, memory = bytes_needed(parts, len(positions)), MEMORY_BYTES // stores
            if size > memory and not _disk_has(size):
                return None, images
            kept = Activations(positions, parts, on_disk=size > memory)
        kept.put(rows, parts)
    return kept, images


def _disk_has(size: int) -> bool:
    return size <= DISK_SHARE * shutil.disk_usage(tempfile.gettempdir()).free
