"""Rows and losses of several folds on a torch device, for the solver `newton_folds`.

Scores of rows (k, F, n) and their gradients, the large arrays of a step, stay on the device; all rows and
folds are one block. Coefficients and sums over rows come from the solver and go back to it as arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from featx.methods.probes.fold_losses import FoldLoss, Softmax, SquaredHinge
from featx.methods.probes.fold_rows import Block, SharedRows, StackedRows
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
        self.shape, self.dtype, self._rows, self._place = rows.shape, rows.dtype, rows, place
        self._X = place.put(rows.X)
        self._squares: Any = place.put(rows.squares) if isinstance(rows, SharedRows) else None
        F, n, _ = rows.shape
        self.blocks = [Block(0, slice(0, n), np.arange(F))]

    def sums(
        self, W: np.ndarray, b: np.ndarray, respond: Callable[..., Any], active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`; all folds take part."""
        if isinstance(self._rows, SharedRows):
            W, b = self._rows.of_shared(W, b)
        z = self.scores(self._place.put(W), self._place.put(b))
        E = respond(z.transpose(0, 1).contiguous(), self.blocks[0], self.blocks[0].folds).transpose(0, 1)
        by_W, by_b = self._place.get(E @ self._X), self._place.sums(E, 2)
        return self._rows.of_folds(by_W, by_b) if isinstance(self._rows, SharedRows) else (by_W, by_b)

    def scores(self, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return W x + b, (F, k, n)."""
        return W @ self._X.transpose(-1, -2) + b[..., None]

    def curvature(self, of_rows: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
        """See `FoldRows`."""
        _, w = of_rows(self.blocks[0])
        total = self._place.sums(w, 2).T
        if isinstance(self._rows, StackedRows):
            return total, self._rows.of_total(total)
        return total, self._place.get(w.transpose(0, 1) @ self._squares)

    def divide(self, G: np.ndarray, along: np.ndarray, penalty: float) -> np.ndarray:
        """See `FoldRows`; computed by NumPy."""
        return self._rows.divide(G, along, penalty)

    @staticmethod
    def in_threads() -> Any:
        """See `FoldRows`; the device has threads of its own."""
        return nullcontext()


class DeviceSoftmax(Softmax):
    """`Softmax` of scores on a device."""

    def __init__(self, loss: Softmax, dtype: np.dtype, place: Place):
        super().__init__(loss._codes, loss._weights, loss._n_classes)
        self._place = place
        self._on_device: Any = place.put(loss._codes)[None], place.put(loss._weights.astype(dtype))

    def errors(self, z: Any, block: Block, folds: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `FoldLoss`."""
        codes, s = self._on_device
        k = len(z)
        loss, error = loss_and_error(z.reshape(1, k, -1), codes.reshape(1, 1, -1))
        p = error.scatter_add(1, codes.reshape(1, 1, -1), torch.ones_like(error[:, :1]))
        self._kept[0] = folds, p.reshape(z.shape)
        return self._place.sums(loss.reshape(s.shape) * s, 1), error.reshape(z.shape) * s

    def hessian(self, u: Any, block: Block, folds: np.ndarray) -> Any:
        """See `FoldLoss`."""
        p = self._kept[0][1]
        u = u - (p * u).sum(0, keepdim=True)
        return u.mul_(p).mul_(self._on_device[1])

    def curvature(self, block: Block) -> tuple[np.ndarray, Any]:
        """See `FoldLoss`."""
        folds, p = self._kept[0]
        return folds, p * (1 - p) * self._on_device[1]


class DeviceSquaredHinge(SquaredHinge):
    """`SquaredHinge` of scores on a device."""

    def __init__(self, loss: SquaredHinge, dtype: np.dtype, place: Place):
        super().__init__(loss._codes, loss._weights, loss._n_classes)
        self._place = place
        positive = np.arange(loss._n_classes)[:, None, None] == loss._codes
        positive = positive[1:] if loss._n_classes == 2 else positive
        weights = loss._weights[None]
        if loss._n_classes > 2:
            weights = np.where(positive, weights, weights > 0)
        self._on_device: Any = (
            place.put(np.where(positive, 1, -1).astype(np.int8)),
            place.put(weights.astype(dtype)),
        )

    def errors(self, z: Any, block: Block, folds: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `FoldLoss`."""
        signs, s = self._on_device
        z = (1 - z * signs).clamp_(min=0)
        twice = 2 * s * (z > 0)
        self._kept[0] = folds, twice
        losses = self._place.sums(z.square() * s, 0, 2)
        return losses, z.mul_(twice).mul_(-signs)


def device_loss(loss: FoldLoss, dtype: np.dtype, place: Place) -> FoldLoss:
    """Return the loss for scores of a dtype on a device."""
    if isinstance(loss, Softmax):
        return DeviceSoftmax(loss, dtype, place)
    assert isinstance(loss, SquaredHinge)
    return DeviceSquaredHinge(loss, dtype, place)
