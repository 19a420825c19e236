"""Find out which axis of a layer's output holds its channels, so that the others are what is averaged.

Most networks give maps (n, channels, h, w) or tokens (n, tokens, channels). Some (Swin, and others of timm)
give maps (n, h, w, channels), and some transpose tokens. Nothing in a tensor says which it is; it is known

- of a map from square images, when its last two axes are equal and the first is not;
- of any, when another image size changes the axes of positions and leaves that of the channels alone;
- of tokens, when the network states how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence

#: By how much larger the other images are, in pixels: a multiple of what common networks divide by.
LARGER = 64


def channels_known(
    shape: Sequence[int], size: tuple[int, int], other: Sequence[int] | None, tokens: Sequence[int]
) -> bool:
    """Whether the channels of a layer are where pooling expects them.

    Parameters
    ----------
    shape : of 2 images
        Of the layer's output; pooling takes (n, c, h, w) and (n, t, c).
    size : (int, int)
        Height and width of the images.
    other : the same for larger images, or None
        Where the network runs at another size.
    tokens : sequence of int
        How many there may be, by what the network states.
    """
    positions, channels = ((2, 3), 1) if len(shape) == 4 else ((1,), 2)
    if all(shape[axis] == 1 for axis in positions):
        return True
    if other is not None and len(other) == len(shape):
        moved = [axis for axis in range(1, len(shape)) if shape[axis] != other[axis]]
        if moved:
            return moved == list(positions)
    if len(shape) == 4:
        return size[0] == size[1] and shape[2] == shape[3] != shape[channels]
    return shape[1] in tokens and shape[1] != shape[channels]


def obvious(shape: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether a map from square images shows its channels without another run."""
    return len(shape) == 4 and channels_known(shape, size, None, ())
