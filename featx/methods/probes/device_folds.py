"""Rows and losses of several folds on a torch device, for the solver `newton_folds`.

Scores of rows (F, k, n) and their gradients, the large arrays of a step, stay on the device. Coefficients and
sums over rows come from the solver and go back to it as arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch

from featx.methods.probes.fold_losses import Softmax, SquaredHinge
from featx.methods.probes.fold_rows import SharedRows, StackedRows
from featx.methods.probes.torch_rows import loss_and_error

Put = Callable[[np.ndarray], torch.Tensor]


class DeviceRows:
    """`SharedRows` or `StackedRows` on a device.

    Parameters
    ----------
    rows : SharedRows or StackedRows
    put : callable
        Returns a copy of an array on the device.
    """

    def __init__(self, rows: SharedRows | StackedRows, put: Put):
        self.shape, self.dtype, self._put = rows.shape, rows.dtype, put
        # Their methods are written for tensors, too.
        self._rows: Any = copy(rows)
        for name, value in vars(rows).items():
            if isinstance(value, np.ndarray):
                setattr(self._rows, name, put(value))

    def scores(self, W: np.ndarray, b: np.ndarray) -> Any:
        """See `FoldRows`; a tensor."""
        return self._rows.scores(self._put(W), self._put(b))

    def gradient(self, E: Any) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`; of a tensor."""
        gW, gb = self._rows.by_coefficients(E), E.sum(2, dtype=_widest(E))
        return _get(gW), _get(gb).astype(np.float64)

    def divide(self, G: np.ndarray, curvature: np.ndarray, penalty: float) -> np.ndarray:
        """See `FoldRows`."""
        return _get(self._rows.divide(self._put(G), self._put(curvature), penalty))


class DeviceSoftmax(Softmax):
    """`Softmax` of scores on a device."""

    _p: Any
    _s: Any

    def __init__(self, loss: Softmax, put: Put):
        self.columns, self.penalty, self._totals = loss.columns, loss.penalty, loss._totals
        self._codes: Any = put(loss._codes)[:, None]
        self._weights: Any = _put_weights(loss._weights, put)

    def errors(self, z: Any) -> tuple[np.ndarray, Any]:
        """As `Softmax.errors`."""
        loss, error = loss_and_error(z, self._codes)
        self._s = self._weights[:, None].to(z.dtype)
        self._p = error.scatter_add(1, self._codes, torch.ones_like(error[:, :1]))
        return _get((loss * self._weights).sum(1)).astype(np.float64), error * self._s

    def hessian(self, u: Any) -> Any:
        """As `Softmax.hessian`."""
        u = u - (self._p * u).sum(1, keepdim=True)
        return u.mul_(self._p).mul_(self._s)

    def curvature(self) -> np.ndarray:
        """As `Softmax.curvature`."""
        found = _get((self._p * (1 - self._p) * self._s).sum(2)).astype(np.float64)
        return np.maximum(found, 1e-12 * self._totals[:, None])


class DeviceSquaredHinge(SquaredHinge):
    """`SquaredHinge` of scores on a device."""

    _twice: Any

    def __init__(self, loss: SquaredHinge, put: Put):
        self.columns, self.penalty, self._totals = loss.columns, loss.penalty, loss._totals
        self._signs: Any = put(loss._signs)
        self._weights: Any = _put_weights(loss._weights, put)

    def errors(self, z: Any) -> tuple[np.ndarray, Any]:
        """As `SquaredHinge.errors`."""
        z = (1 - z * self._signs).clamp_(min=0)
        self._twice = 2 * self._weights.to(z.dtype) * (z > 0)
        losses = (z.square() * self._weights).sum((1, 2))
        return _get(losses).astype(np.float64), z.mul_(self._twice).mul_(-self._signs)

    def curvature(self) -> np.ndarray:
        """As `SquaredHinge.curvature`."""
        found = _get(self._twice.sum(2, dtype=_widest(self._twice))).astype(np.float64)
        return np.maximum(found, 1e-12 * self._totals)


def device_loss(loss: Softmax | SquaredHinge, put: Put) -> DeviceSoftmax | DeviceSquaredHinge:
    """Return the loss for scores on a device."""
    return DeviceSoftmax(loss, put) if isinstance(loss, Softmax) else DeviceSquaredHinge(loss, put)


def _put_weights(weights: np.ndarray, put: Put) -> torch.Tensor:
    """Return weights on the device, in double precision where it has that: they decide that of the sums."""
    small = put(weights.astype(np.float32))
    return small if small.device.type == "mps" else put(weights.astype(np.float64))


def _widest(tensor: torch.Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _get(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
