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

from featx.inputs.audio import PADDING as CLIP_PADDING
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
    shapes : ndarray, optional
        Not used: all inputs have one shape.
    on_disk : bool
        Use a temporary file, which is deleted with this object.
    """

    def __init__(
        self, positions: np.ndarray, sample: Parts, shapes: np.ndarray | None = None, *, on_disk: bool = False
    ):
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

    def __init__(
        self, positions: np.ndarray, sample: Parts, shapes: np.ndarray | None = None, *, on_disk: bool = False
    ):
        assert shapes is not None
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


class ClipActivations(Activations):
    """Store activations of clips as the batches in which they were computed: (b, windows, positions, ...).

    Batches are of clips of about one length, so that little is padding. Clips of several batches together are
    padded again: the first part, which is what the network takes, with `PADDING`, and the others with 0.
    """

    def __init__(
        self, positions: np.ndarray, sample: Parts, shapes: np.ndarray | None = None, *, on_disk: bool = False
    ):
        self._open(positions, on_disk)
        self._batches: list[Parts] = []
        self._place = np.zeros((len(positions), 2), np.int64)  # batch of each input, and its row there

    def put(self, positions: np.ndarray, parts: Parts) -> None:
        """Store the activations of these clips."""
        number, rows = len(self._batches), self._row[positions]
        self._place[rows] = np.stack([np.full(len(rows), number), np.arange(len(rows))], axis=1)
        stored = []
        for i, part in enumerate(parts):
            place = self._allocate(number * len(parts) + i, tuple(part.shape), part)
            stored.append(place.copy_(part.detach()))
        self._batches.append(tuple(stored))

    def get(self, positions: np.ndarray, device: torch.device) -> Parts:
        """Return the activations of these clips, padded to the largest of them, on the device."""
        rows = self._place[self._row[positions]].tolist()
        batches = {number: self._batches[number] for number, _ in rows}
        found = []
        for i, first in enumerate(self._batches[0]):
            shape = [max(parts[i].shape[axis] for parts in batches.values()) for axis in (1, 2)]
            value = 0.0 if i else CLIP_PADDING
            part = first.new_full((len(rows), *shape, *first.shape[3:]), value)
            for into, (number, row) in zip(part, rows, strict=True):
                one = batches[number][i][row]
                into[: one.shape[0], : one.shape[1]] = one
            found.append(part.to(device))
        return tuple(found)


#: How the activations of each kind of input are stored.
_STORES = {"image": Activations, "text": TextActivations, "clip": ClipActivations}


def bytes_needed(sample: Parts, n: int, shapes: np.ndarray | None = None) -> int:
    """Return how many bytes the activations of `n` inputs take; `shapes` (n, 2) are those of texts and clips.

    The states of a clip are fewer than its positions, in the proportion of `sample`.
    """
    if shapes is None:
        return n * sum(part[0].numel() * part.element_size() for part in sample)
    cells = int(shapes.prod(axis=1).sum())
    here = math.prod(sample[0].shape[:3])
    return math.ceil(cells * sum(part.numel() * part.element_size() for part in sample) / here)


def store_activations(
    positions: np.ndarray,
    found: Iterable[tuple[np.ndarray, Parts]],
    *,
    stores: int = 1,
    shapes: np.ndarray | None = None,
    kind: str = "image",
) -> tuple[Activations | None, int]:
    """Store the pairs (positions, parts) of `found`; return the store and the number of inputs read.

    `stores` such stores share the memory. Without room for all of `positions` the store is None, and only the
    first pair has been read. `shapes` (n, 2) are pieces and lengths of texts, or windows and positions of
    clips, at `positions`.
    """
    store, inputs = None, 0
    for rows, parts in found:
        inputs += len(rows)
        if store is None:
            size, memory = bytes_needed(parts, len(positions), shapes), MEMORY_BYTES // stores
            on_disk = size > memory
            if on_disk and not _disk_has(size):
                return None, inputs
            store = _STORES[kind](positions, parts, shapes, on_disk=on_disk)
        store.put(rows, parts)
    return store, inputs


def _disk_has(size: int) -> bool:
    return size <= DISK_SHARE * shutil.disk_usage(tempfile.gettempdir()).free
