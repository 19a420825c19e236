"""Find out which axis of a layer's output holds its channels, so that the others are what is averaged.

Most networks give maps (n, channels, h, w) or tokens (n, tokens, channels). Some (Swin, and others of timm)
give maps (n, h, w, channels), and some transpose tokens. Nothing in a tensor says which it is; it is known

- of a map from square images, when its last two axes are equal and the first is not;
- of any, when another image size changes the axes of positions and leaves that of the channels alone;
- of tokens, when the network states how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence


def channels_known(
    shape: Sequence[int], square: bool, larger: Sequence[int] | None, tokens: Sequence[int]
) -> bool:
    """Return whether the channels of a layer are where pooling expects them.

    Parameters
    ----------
    shape : sequence of int
        Of the layer's output; pooling takes (n, c, h, w) and (n, t, c).
    square : bool
        Whether it is for square images.
    larger : sequence of int or None
        The shape for larger images, where the network runs on them.
    tokens : sequence of int
        How many tokens there may be, as the network states.
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
