"""The output of a network's frozen part, computed once for images that come again unchanged.

Up to `MEMORY_BYTES` it stays in memory; beyond that it goes to a temporary file that is mapped into
memory, as long as that takes no more than half of what is free on the disk.
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

#: Bytes held in memory, at most: by the validation images, as many by the training and by the proxy images.
MEMORY_BYTES = 1 << 30
#: Share of the free bytes of the temporary folder's disk that it takes, at most.
DISK_SHARE = 0.5


class Kept:
    """Frozen activations, found by the image's position.

    Parameters
    ----------
    positions : ndarray of shape (n,)
        Of the images, each once.
    sample : tuple of torch.Tensor
        Some images' activations, batch first, which say what one image needs.
    on_disk : bool
        Whether a temporary file holds them; it goes when this object does.

    Notes
    -----
    Numbers are kept as the frozen part gave them: float32 stays float32.
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
        """Keep the activations of these images."""
        rows = torch.from_numpy(self._row[positions])
        for room, part in zip(self._parts, parts, strict=True):
            room[rows.to(room.device)] = part.to(room.device)

    def get(self, positions: np.ndarray, device: torch.device) -> Parts:
        """The activations of these images, on the device."""
        rows = torch.from_numpy(self._row[positions])
        return tuple(part.index_select(0, rows.to(part.device)).to(device) for part in self._parts)


def needed(sample: Parts, n: int) -> int:
    """Bytes that the activations of `n` images take."""
    return n * sum(part[0].numel() * part.element_size() for part in sample)


def keep(
    positions: np.ndarray, found: Iterable[tuple[np.ndarray, Parts]], *, stores: int = 1
) -> tuple[Kept | None, int]:
    """Keep what `found` gives for `positions`, unless there is no room; and how many images it gave.

    Parameters
    ----------
    positions : ndarray of shape (n,)
    found : iterable of (positions, parts)
        Is left after its first batch where the whole would find no room.
    stores : int
        How many of the kind there will be at once; they share the memory.
    """
    kept, images = None, 0
    for rows, parts in found:
        images += len(rows)
        if kept is None:
            size, memory = needed(parts, len(positions)), MEMORY_BYTES // stores
            if size > memory and not _disk_has(size):
                return None, images
            kept = Kept(positions, parts, on_disk=size > memory)
        kept.put(rows, parts)
    return kept, images


def _disk_has(size: int) -> bool:
    return size <= DISK_SHARE * shutil.disk_usage(tempfile.gettempdir()).free
