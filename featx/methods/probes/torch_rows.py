"""Compute the sums of `softmax.NumpyRows` on a torch device; results are equal up to rounding errors.

Rows and probabilities (n, k) stay on the device; parameters, gradients and the blocks of the preconditioner
are copied each time. Rows are handled in parts, whose sums are added in float64.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from featx.engines.torch import full_fp32
from featx.errors import InputError
from featx.methods.probes import softmax

# Number of rows whose products are summed in single precision.
_PART = 8192


class TorchRows:
    """Training rows on a device with float64; otherwise as `softmax.NumpyRows`."""

    map: Any = map

    def __init__(
        self,
        X: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray,
        n_classes: int,
        device: str | torch.device,
    ):
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise InputError(f"device {device!r} needs a GPU, and torch sees none; use 'cpu' or 'auto'")
        self.n_classes, self.double = n_classes, X.dtype == np.float64
        # Rows that are read in blocks are never all in the memory of the host.
        self.X = torch.empty(X.shape, device=device, dtype=torch.float64 if self.double else torch.float32)
        self.codes = torch.tensor(codes, device=device, dtype=torch.int64)
        self.weights = torch.tensor(weights, device=device, dtype=torch.float64)
        self._parts = [slice(i, min(i + _PART, len(X))) for i in range(0, len(X), _PART)]
        self._p = torch.empty((len(X), n_classes), device=device, dtype=torch.float64)
        for rows in self._parts:
            self.X[rows] = torch.tensor(X[rows], device=device)

    def __enter__(self) -> TorchRows:
        self._stack = ExitStack()
        if self.X.device.type == "cuda":
            self._stack.enter_context(full_fp32())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def loss_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """As in `softmax.NumpyRows`."""
        W, b = self._parameters(theta)
        self._p = self._p.to(W.dtype)
        total, gradient = self._zeros(()), self._zeros(theta.shape)
        for rows in self._parts:
            x, codes, s = self.X[rows].to(W.dtype), self.codes[rows, None], self.weights[rows]
            loss, error = loss_and_error(x @ W + b, codes)
            total += loss.double() @ s
            self._p[rows] = error.scatter_add(1, codes, torch.ones_like(error[:, :1]))
            error *= s.to(W.dtype)[:, None]
            self._add(gradient, x, error)
        return float(total), gradient.cpu().numpy()

    def hessian(self, V: np.ndarray) -> np.ndarray:
        """As in `softmax.NumpyRows`."""
        W, b = self._parameters(V)
        product = self._zeros(V.shape)
        for rows in self._parts:
            x, p = self.X[rows].to(W.dtype), self._p[rows]
            u = x @ W + b
            u -= (p * u).sum(dim=1, keepdim=True)
            u *= p * self.weights[rows].to(W.dtype)[:, None]
            self._add(product, x, u)
        return product.cpu().numpy()

    def curvature(self) -> float:
        """As in `softmax.NumpyRows`."""
        return float(self._row_curvature().sum())

    def class_directions(self) -> np.ndarray:
        """As in `softmax.NumpyRows`."""
        p = self._p.double()
        weighted = p * self.weights[:, None]
        total = torch.diag(weighted.sum(dim=0)) - weighted.T @ p
        return np.linalg.eigh(total.cpu().numpy())[1]

    def diagonal_blocks(self, directions: np.ndarray, most: int) -> np.ndarray:
        """As in `softmax.NumpyRows`, from the same rows."""
        device = self.X.device
        drawn, share = softmax.draw(self._row_curvature().cpu().numpy(), most)
        rows, U = torch.tensor(drawn, device=device), torch.tensor(directions, device=device)
        P = self._p[rows].double()
        by_direction = (P @ U.square() - (P @ U).square()).clamp(min=0)
        by_direction *= (self.weights[rows] * torch.tensor(share, device=device))[:, None]
        if softmax.shares_block(self.n_classes, self.X.shape[1]):
            by_direction = by_direction.mean(dim=1, keepdim=True)
        x = torch.hstack([self.X[rows], torch.ones_like(self.X[rows, :1])])
        scaled = (x * w.sqrt().to(x.dtype)[:, None] for w in by_direction.T)
        return np.stack([(part.T @ part).double().cpu().numpy() for part in scaled])

    def _row_curvature(self) -> torch.Tensor:
        return self.weights * (1 - self._p.double().square().sum(dim=1))

    def _parameters(self, theta: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        moved = torch.tensor(
            theta, device=self.X.device, dtype=torch.float64 if self.double else self.X.dtype
        )
        return moved[:-1], moved[-1]

    def _zeros(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.zeros(shape, device=self.X.device, dtype=torch.float64)

    @staticmethod
    def _add(total: torch.Tensor, x: torch.Tensor, r: torch.Tensor) -> None:
        total[:-1] += x.T @ r
        total[-1] += r.double().sum(dim=0)


def loss_and_error(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`softmax.loss_and_error` of scores (n, k) or (F, k, n), and classes (n, 1) or (F, 1, n)."""
    z = z - z.gather(1, codes)
    most = z.amax(dim=1, keepdim=True)
    a = (z - most).exp().scatter(1, codes, 0.0)
    others = a.sum(dim=1, keepdim=True)
    excess = others + torch.expm1(-most)
    error = (a / (1 + excess)).scatter(1, codes, -others / (1 + excess))
    return (most + torch.log1p(excess))[:, 0], error
