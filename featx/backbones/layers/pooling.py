"""Pool the output of a layer to one row for each input, where it is known which axis holds the channels.

A layer gives maps (n, channels, h, w) or (n, h, w, channels), or tokens (n, tokens, channels) or
(n, channels, tokens). Nothing in a tensor says which axis is which. The channels are known

- in a map from square images, where two axes next to each other are equal and the third is not;
- in any output, where a larger image changes the axes of positions and not that of the channels;
- in tokens, where the network states how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Tap(NamedTuple):
    """A layer, how its output is pooled, and what pooling must know of that output.

    `channels` is the axis of the channels, and `prefix` the number of tokens before those of patches.
    """

    layer: str
    pooling: str
    channels: int = 1
    prefix: int = 0


def pool_average(x: Tensor, channels: int = 1, prefix: int = 0) -> Tensor:
    """Average over positions: (n, ...) with the channels on the axis `channels` to (n, c)."""
    return x.mean(dim=_positions(x, channels))


def pool_maximum(x: Tensor, channels: int = 1, prefix: int = 0) -> Tensor:
    """Take the maximum over positions: (n, ...) with the channels on the axis `channels` to (n, c)."""
    return x.amax(dim=_positions(x, channels))


def pool_statistics(x: Tensor, channels: int = 1, prefix: int = 0) -> Tensor:
    """Put mean and standard deviation over positions side by side: (n, ...) to (n, 2 c)."""
    over = _positions(x, channels)
    variance = x.var(dim=over, correction=0)
    return torch.cat([x.mean(dim=over), variance.clamp(min=LEAST_VARIANCE).sqrt()], dim=1)


def pool_class_token(x: Tensor, channels: int = 2, prefix: int = 1) -> Tensor:
    """Take the first token, the class token: (n, t, c) to (n, c)."""
    return x[:, 0].clone()


def pool_patches(x: Tensor, channels: int = 2, prefix: int = 1) -> Tensor:
    """Average the tokens of patches, without class and register tokens: (n, t, c) to (n, c)."""
    return x[:, prefix:].mean(dim=1)


def pool_class_and_patches(x: Tensor, channels: int = 2, prefix: int = 1) -> Tensor:
    """Put the class token beside the average of patches: (n, t, c) to (n, 2 c)."""
    return torch.cat([x[:, 0], x[:, prefix:].mean(dim=1)], dim=1)


def pool_nothing(x: Tensor, channels: int = 1, prefix: int = 0) -> Tensor:
    """Flatten everything into one row, and copy it: (n, ...) to (n, product)."""
    return torch.flatten(x, 1).clone()


def copy_vector(x: Tensor, channels: int = 1, prefix: int = 0) -> Tensor:
    """Copy a vector, because a later layer may work in place."""
    return x.clone()


#: Smallest variance: the gradient of a root is infinite at 0.
LEAST_VARIANCE = 1e-12
#: Poolings of tokens, which must have a class token and tokens of patches.
OF_TOKENS = ("cls", "patches", "cls+patches")
#: Poolings over positions; it must be known which axis holds the channels.
OVER_POSITIONS = ("avg", "mean", "mean+std", "max", *OF_TOKENS)
#: Those that give two values for each channel.
TWICE = ("cls+patches", "mean+std")
#: What each pooling computes from a layer's output, the axis of its channels, and its prefix tokens.
POOLS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "avg": pool_average,
    "mean": pool_average,
    "mean+std": pool_statistics,
    "max": pool_maximum,
    "cls": pool_class_token,
    "patches": pool_patches,
    "cls+patches": pool_class_and_patches,
    "none": pool_nothing,
    "identity": copy_vector,
}


def embedding_dim(shape: Sequence[int], pooling: str, channels: int) -> int:
    """Return the length of an embedding that pooling makes of a layer's output."""
    if pooling in ("none", "identity"):
        return math.prod(shape[1:])
    return (2 if pooling in TWICE else 1) * shape[channels]


def usual_channels(axes: int) -> int:
    """Return where most networks have the channels in an output of so many axes."""
    return 2 if axes == 3 else 1


def find_channels(
    shape: Sequence[int], square: bool, larger: Sequence[int] | None, tokens: Sequence[int]
) -> int | None:
    """Return the axis of a layer's channels; None where it is not known.

    `shape` is that of the layer's output, with 3 or 4 axes; `square` says whether it is for square images;
    `larger` is its shape for larger images where the network runs on them, and `tokens` how many tokens the
    network states.
    """
    usual = usual_channels(len(shape))
    first, last = (1, len(shape) - 1)
    if all(shape[axis] == 1 for axis in range(1, len(shape)) if axis != usual):
        return usual
    if larger is not None and len(larger) == len(shape):
        moved = [axis for axis in range(1, len(shape)) if shape[axis] != larger[axis]]
        if moved:
            return {tuple(range(first, last)): last, tuple(range(2, last + 1)): first}.get(tuple(moved))
    if len(shape) == 4:
        if square and shape[2] == shape[3] != shape[1]:
            return first
        return last if square and shape[1] == shape[2] != shape[3] else None
    found = [axis for axis, other in ((last, first), (first, last)) if shape[other] in tokens]
    return found[0] if len(found) == 1 else None


def _positions(x: Tensor, channels: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(1, x.dim()) if axis != channels)
