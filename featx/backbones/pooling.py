"""Pool the output of a layer to one row for each input."""

from __future__ import annotations

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


def own_copy(x: Tensor) -> Tensor:
    """Copy a vector, because a later layer may work in place."""
    return x.clone()


def own_copy_of_all(x: Tensor) -> Tensor:
    """Flatten and copy: (n, ...) to (n, product)."""
    return torch.flatten(x, 1).clone()


#: Poolings over positions, for which it must be known which axis holds the channels.
AVERAGED = ("avg", "max")
POOLS = {"avg": pool_average, "max": pool_maximum, "none": pool_nothing}

#: For layers after which the network goes on.
POOLS_BETWEEN = {"avg": pool_average, "max": pool_maximum, "none": own_copy_of_all, "identity": own_copy}
