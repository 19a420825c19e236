"""Pool the output of a layer to one row for each input, where it is known which axis holds the channels.

Most networks give maps (n, channels, h, w) or tokens (n, tokens, channels). Some (Swin, and others of timm)
give maps (n, h, w, channels), and some transpose tokens. Nothing in a tensor says which axis is which. The
channels are known

- in a map from square images, when its last two axes are equal and the first is not;
- in any output, when a larger image changes the axes of positions and not that of the channels;
- in tokens, when the network states how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def pool_average(x: Tensor) -> Tensor:
    """Average over positions: (n, c, h, w) or tokens (n, t, c) to (n, c)."""
    return x.mean(dim=(2, 3)) if x.dim() == 4 else x.mean(dim=1)


def pool_maximum(x: Tensor) -> Tensor:
    """Take the maximum over positions: (n, c, h, w) or tokens (n, t, c) to (n, c)."""
    return x.amax(dim=(2, 3)) if x.dim() == 4 else x.amax(dim=1)


def pool_nothing(x: Tensor) -> Tensor:
    """Flatten everything into one row: (n, ...) to (n, product)."""
    return torch.flatten(x, 1)


def copy_vector(x: Tensor) -> Tensor:
    """Copy a vector, because a later layer may work in place."""
    return x.clone()


def copy_flat(x: Tensor) -> Tensor:
    """Flatten and copy: (n, ...) to (n, product)."""
    return torch.flatten(x, 1).clone()


#: Poolings over positions; it must be known which axis holds the channels.
AVERAGED = ("avg", "max")
POOLS = {"avg": pool_average, "max": pool_maximum, "none": pool_nothing}

#: Poolings of layers after which the network goes on, possibly in place.
POOLS_BETWEEN = {"avg": pool_average, "max": pool_maximum, "none": copy_flat, "identity": copy_vector}


def embedding_dim(shape: Sequence[int], pooling: str) -> int:
    """Return the length of an embedding that pooling makes of a layer's output."""
    if pooling == "none":
        return math.prod(shape[1:])
    return shape[2] if len(shape) == 3 else shape[1]


def channels_known(
    shape: Sequence[int], square: bool, larger: Sequence[int] | None, tokens: Sequence[int]
) -> bool:
    """Return whether the channels of a layer are where pooling expects them: (n, c, h, w) or (n, t, c).

    `shape` is that of the layer's output, `square` whether it is for square images, `larger` its shape for
    larger images where the network runs on them, and `tokens` how many tokens the network states.
    """
    positions, channels = ((2, 3), 1) if len(shape) == 4 else ((1,), 2)
    if all(shape[axis] == 1 for axis in positions):
        return True
    if larger is not None and len(larger) == len(shape):
        moved = [axis for axis in range(1, len(shape)) if shape[axis] != larger[axis]]
        if moved:
            return moved == list(positions)
    if len(shape) == 4:
        return square and shape[2] == shape[3] != shape[channels]
    return shape[1] in tokens and shape[1] != shape[channels]
