"""Rows and losses of several folds on a torch device, for the solver `newton_folds`.

Scores of rows (F, k, n) and their gradients, the large arrays of a step, stay on the device. Coefficients and
sums over rows come from the solver and go back to it as arrays.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import torch

from featx.methods.probes.fold_losses import Softmax, SquaredHinge
from featx.methods.probes.fold_rows import SharedRows, StackedRows
from featx.methods.probes.torch_rows import loss_and_error


class Place:
    """A device, and the way to it and back.

    Parameters
    ----------
    device : torch.device
    doubles : bool
        Whether it has double precision.
    """

    def __init__(self, device: torch.device, doubles: bool):
        self.device, self.doubles = device, doubles
        self.widest = torch.float64 if doubles else torch.float32

    def put(self, array: np.ndarray) -> torch.Tensor:
        """Return a copy of an array on the device."""
        if array.ndim == 2 and array.flags.f_contiguous and not array.flags.c_contiguous:
            return self.put(array.T).T
        return torch.tensor(np.ascontiguousarray(array), device=self.device)

    @staticmethod
    def get(tensor: torch.Tensor) -> np.ndarray:
        """Return a tensor of the device as an array."""
        return tensor.cpu().numpy()

    def sums(self, tensor: torch.Tensor, *dims: int) -> np.ndarray:
        """Return sums along axes, added in the widest precision of the device, float64."""
        return self.get(tensor.sum(dims, dtype=self.widest)).astype(np.float64)


class DeviceRows:
    """`SharedRows` or `StackedRows` on a device.

    Parameters
    ----------
    rows : SharedRows or StackedRows
    place : Place
    """

    def __init__(self, rows: SharedRows | StackedRows, place: Place):
        self.shape, self.dtype, self._place = rows.shape, rows.dtype, place
        # Their methods are written for tensors, too.
        self._rows: Any = copy(rows)
        for name, value in vars(rows).items():
            if isinstance(value, np.ndarray):
                setattr(self._rows, name, place.put(value))

    def scores(self, W: np.ndarray, b: np.ndarray) -> Any:
        """See `FoldRows`; a tensor."""
        return self._rows.scores(self._place.put(W), self._place.put(b))

    def gradient(self, E: Any) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`; of a tensor."""
        return self._place.get(self._rows.by_coefficients(E)), self._place.sums(E, 2)

    def divide(self, G: np.ndarray, curvature: np.ndarray, penalty: float) -> np.ndarray:
        """See `FoldRows`."""
        put = self._place.put
        return self._place.get(self._rows.divide(put(G), put(curvature), penalty))


class DeviceSoftmax(Softmax):
    """`Softmax` of scores on a device."""

    _p: Any

    def __init__(self, loss: Softmax, dtype: np.dtype, place: Place):
        self.columns, self.penalty, self._totals = loss.columns, loss.penalty, loss._totals
        self._place = place
        self._codes: Any = place.put(loss._codes)[:, None]
        self._weights: Any = place.put(loss._weights.astype(dtype))

    def errors(self, z: Any) -> tuple[np.ndarray, Any]:
        """As `Softmax.errors`."""
        loss, error = loss_and_error(z, self._codes)
        self._p = error.scatter_add(1, self._codes, torch.ones_like(error[:, :1]))
        return self._place.sums(loss * self._weights, 1), error * self._weights[:, None]

    def hessian(self, u: Any) -> Any:
        """As `Softmax.hessian`."""
        u = u - (self._p * u).sum(1, keepdim=True)
        return u.mul_(self._p).mul_(self._weights[:, None])

    def curvature(self) -> np.ndarray:
        """As `Softmax.curvature`."""
        found = self._place.sums(self._p * (1 - self._p) * self._weights[:, None], 2)
        return np.maximum(found, 1e-12 * self._totals[:, None])


class DeviceSquaredHinge(SquaredHinge):
    """`SquaredHinge` of scores on a device."""

    _twice: Any

    def __init__(self, loss: SquaredHinge, dtype: np.dtype, place: Place):
        self.columns, self.penalty, self._totals = loss.columns, loss.penalty, loss._totals
        self._place = place
        self._signs: Any = place.put(loss._signs)
        self._weights: Any = place.put(loss._weights.astype(dtype))

    def errors(self, z: Any) -> tuple[np.ndarray, Any]:
        """As `SquaredHinge.errors`."""
        z = (1 - z * self._signs).clamp_(min=0)
        self._twice = 2 * self._weights * (z > 0)
        losses = self._place.sums(z.square() * self._weights, 1, 2)
        return losses, z.mul_(self._twice).mul_(-self._signs)

    def curvature(self) -> np.ndarray:
        """As `SquaredHinge.curvature`."""
        return np.maximum(self._place.sums(self._twice, 2), 1e-12 * self._totals)


def device_loss(
    loss: Softmax | SquaredHinge, dtype: np.dtype, place: Place
) -> DeviceSoftmax | DeviceSquaredHinge:
    """Return the loss for scores of a dtype on a device."""
    if isinstance(loss, Softmax):
        return DeviceSoftmax(loss, dtype, place)
    return DeviceSquaredHinge(loss, dtype, place)
