"""Store the frozen part's output for inputs that come again unchanged.

Up to `MEMORY_BYTES` are stored in memory. Larger outputs go to a temporary file that is mapped into memory,
if the file takes no more than half of the free space on the disk.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from featx.inputs.text import PADDING

#: Output of the frozen part of a network, and input of the trained part: tensors with the batch first.
Parts = tuple[torch.Tensor, ...]

#: Most bytes in memory for the validation inputs; as many again for the training and for the proxy images.
MEMORY_BYTES = 1 << 30
#: Largest share of the free space of the temporary folder's disk that the files take.
DISK_SHARE = 0.5


class Activations:
    """Store frozen activations by the position of the input; their dtype is unchanged.

    Parameters
    ----------
    positions : ndarray of shape (n,)
        Positions of the inputs, each once.
    sample : tuple of torch.Tensor
        Activations of some inputs; they give the shapes and dtypes.
    on_disk : bool
        Use a temporary file, which is deleted with this object.
    """

    def __init__(self, positions: np.ndarray, sample: Parts, *, on_disk: bool = False):
        self._open(positions, on_disk)
        self._parts = tuple(
            self._allocate(i, (len(positions), *part.shape[1:]), part) for i, part in enumerate(sample)
        )

    def _open(self, positions: np.ndarray, on_disk: bool) -> None:
        self._row = np.full(int(positions.max()) + 1, -1, np.int64)
        self._row[positions] = np.arange(len(positions))
        self.on_disk = on_disk
        self._folder = Path(tempfile.mkdtemp(prefix="featx-")) if self.on_disk else None
        if self._folder is not None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def _allocate(self, number: int, shape: tuple[int, ...], part: torch.Tensor) -> torch.Tensor:
        if self._folder is None:
            return torch.empty(shape, dtype=part.dtype, device=part.device)
        path = str(self._folder / f"{number}")
        return torch.from_file(path, shared=True, size=math.prod(shape), dtype=part.dtype).view(shape)

    def put(self, positions: np.ndarray, parts: Parts) -> None:
        """Store the activations of these inputs."""
        rows = torch.from_numpy(self._row[positions])
        for stored, part in zip(self._parts, parts, strict=True):
            stored[rows.to(stored.device)] = part.to(stored.device)

    def get(self, positions: np.ndarray, device: torch.device) -> Parts:
        """Return the activations of these inputs, on the device."""
        rows = torch.from_numpy(self._row[positions])
        return tuple(part.index_select(0, rows.to(part.device)).to(device) for part in self._parts)


class TextActivations(Activations):
    """Store activations (b, pieces, t, ...) of texts without their padding.

    `shapes` (n, 2) are pieces and length of the text at each of `positions`. Where texts are padded again,
    whole numbers, which are tokens, are `PADDING`, and others 0.
    """

    def __init__(self, positions: np.ndarray, sample: Parts, shapes: np.ndarray, *, on_disk: bool = False):
        self._open(positions, on_disk)
        self._shapes = shapes.tolist()
        self._ends = np.cumsum(shapes.prod(axis=1)).tolist()
        self._parts = tuple(
            self._allocate(i, (self._ends[-1], *part.shape[3:]), part) for i, part in enumerate(sample)
        )

    def put(self, positions: np.ndarray, parts: Parts) -> None:
        """Store the activations of these texts."""
        for i, row in enumerate(self._row[positions].tolist()):
            (pieces, length), end = self._shapes[row], self._ends[row]
            for stored, part in zip(self._parts, parts, strict=True):
                stored[end - pieces * length : end] = part[i, :pieces, :length].flatten(0, 1)

    def get(self, positions: np.ndarray, device: torch.device) -> Parts:
        """Return the activations of these texts, padded to the largest of them, on the device."""
        rows = self._row[positions].tolist()
        shape = [max(self._shapes[row][axis] for row in rows) for axis in (0, 1)]
        found = []
        for stored in self._parts:
            padding = 0 if stored.is_floating_point() else PADDING
            part = stored.new_full((len(rows), *shape, *stored.shape[1:]), padding)
            for i, row in enumerate(rows):
                (pieces, length), end = self._shapes[row], self._ends[row]
                text = stored[end - pieces * length : end].unflatten(0, (pieces, length))
                part[i, :pieces, :length] = text
            found.append(part.to(device))
        return tuple(found)


def bytes_needed(sample: Parts, n: int, shapes: np.ndarray | None = None) -> int:
    """Return how many bytes the activations of `n` inputs take; `shapes` are those of texts."""
    if shapes is None:
        return n * sum(part[0].numel() * part.element_size() for part in sample)
    cells = int(shapes.prod(axis=1).sum())
    return cells * sum(math.prod(part.shape[3:]) * part.element_size() for part in sample)


def store_activations(
    positions: np.ndarray,
    found: Iterable[tuple[np.ndarray, Parts]],
    *,
    stores: int = 1,
    shapes: np.ndarray | None = None,
) -> tuple[Activations | None, int]:
    """Store the pairs (positions, parts) of `found`; return the store and the number of inputs read.

    `stores` such stores share the memory. Without room for all of `positions` the store is None, and only the
    first pair has been read. `shapes` (n, 2) are the pieces and lengths of texts at `positions`.
    """
    store, inputs = None, 0
    for rows, parts in found:
        inputs += len(rows)
        if store is None:
            size, memory = bytes_needed(parts, len(positions), shapes), MEMORY_BYTES // stores
            on_disk = size > memory
            if on_disk and not _disk_has(size):
                return None, inputs
            if shapes is None:
                store = Activations(positions, parts, on_disk=on_disk)
            else:
                store = TextActivations(positions, parts, shapes, on_disk=on_disk)
        store.put(rows, parts)
    return store, inputs


def _disk_has(size: int) -> bool:
    return size <= DISK_SHARE * shutil.disk_usage(tempfile.gettempdir()).free
