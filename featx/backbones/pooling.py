"""From the output of a layer to one row an image: the ways of pooling."""

from __future__ import annotations

import torch
from torch import Tensor


def pool_average(x: Tensor) -> Tensor:
    """Mean over positions: (n, c, h, w) or tokens (n, t, c) to (n, c)."""
    return x.mean(dim=(2, 3)) if x.dim() == 4 else x.mean(dim=1)


def pool_maximum(x: Tensor) -> Tensor:
    """Maximum over positions: (n, c, h, w) or tokens (n, t, c) to (n, c)."""
    return x.amax(dim=(2, 3)) if x.dim() == 4 else x.amax(dim=1)


def pool_nothing(x: Tensor) -> Tensor:
    """All of it in one row: (n, ...) to (n, product)."""
    return torch.flatten(x, 1)


def own_copy(x: Tensor) -> Tensor:
    """A vector that stays as it is when a later layer works in place."""
    return x.clone()


def own_copy_of_all(x: Tensor) -> Tensor:
    """All of it in one row that stays as it is: (n, ...) to (n, product)."""
    return torch.flatten(x, 1).clone()


#: Over positions, which must be known from channels.
AVERAGED = ("avg", "max")
POOLS = {"avg": pool_average, "max": pool_maximum, "none": pool_nothing}

#: For a layer in the middle of what is computed.
POOLS_BETWEEN = {"avg": pool_average, "max": pool_maximum, "none": own_copy_of_all, "identity": own_copy}
