"""Compute the sums of `softmax.NumpyRows` on a torch device; results are equal up to rounding errors.

Rows and probabilities (n, m, k) stay on the device; parameters, gradients and sums along axes are copied each
time. Rows are handled in parts, whose sums are added in float64.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch

from featx.engines.torch import full_fp32
from featx.errors import InputError
from featx.methods.probes import softmax

# Number of rows whose products are summed in single precision.
_PART = 8192


class TorchRows:
    """Training rows on a device with float64; otherwise as `softmax.NumpyRows`."""

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
        self._p = self._zeros((len(X), 0, n_classes), self.X.dtype)
        for rows in self._parts:
            self.X[rows] = torch.tensor(X[rows], device=device)

    def __enter__(self) -> TorchRows:
        self._stack = ExitStack()
        if self.X.device.type == "cuda":
            self._stack.enter_context(full_fp32())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, n_problems: int) -> None:
        """As in `softmax.NumpyRows`."""
        if self._p.shape[1] != n_problems:
            self._p = self._zeros((len(self.X), n_problems, self.n_classes), self._p.dtype)

    def loss_and_gradient(self, theta: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As in `softmax.NumpyRows`."""
        W, b = self._columns(theta, torch.float64 if self.double else self.X.dtype)
        self._p = self._p.to(W.dtype)
        m, k = len(which), self.n_classes
        at = torch.tensor(which, device=self.X.device)
        totals, gradient = self._zeros((m,)), self._zeros((len(W) + 1, m * k))
        for rows in self._parts:
            x, s = self.X[rows].to(W.dtype), self.weights[rows]
            codes = self.codes[rows].repeat_interleave(m)[:, None]
            loss, error = loss_and_error((x @ W + b).reshape(-1, k), codes)
            totals += s @ loss.double().reshape(-1, m)
            p = error.scatter_add(1, codes, torch.ones_like(error[:, :1]))
            self._p[rows, at] = p.reshape(-1, m, k)
            self._add(gradient, x, error.reshape(-1, m * k) * s.to(W.dtype)[:, None])
        return totals.cpu().numpy(), self._by_problem(gradient)

    def hessian(self, V: np.ndarray, which: np.ndarray) -> np.ndarray:
        """As in `softmax.NumpyRows`."""
        W, b = self._columns(V, self.X.dtype)
        m, k = len(which), self.n_classes
        at = torch.tensor(which, device=self.X.device)
        product = self._zeros((len(W) + 1, m * k))
        for rows in self._parts:
            x, p = self.X[rows], self._p[rows, at]
            u = (x @ W + b).reshape(-1, m, k).to(p.dtype)
            u -= (p * u).sum(dim=2, keepdim=True)
            u *= p * self.weights[rows].to(p.dtype)[:, None, None]
            self._add(product, x, u.reshape(-1, m * k))
        return self._by_problem(product)

    def curvature(self) -> np.ndarray:
        """As in `softmax.NumpyRows`."""
        return self._traces().sum(dim=0).cpu().numpy()

    def class_directions(self, which: np.ndarray) -> np.ndarray:
        """As in `softmax.NumpyRows`."""
        found = []
        for problem in which:
            p = self._p[:, problem].double()
            weighted = p * self.weights[:, None]
            total = torch.diag(weighted.sum(dim=0)) - weighted.T @ p
            found.append(np.linalg.eigh(total.cpu().numpy())[1])
        return np.stack(found)

    def find_axes(self, most: int, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """As in `softmax.NumpyRows`, from the same rows."""
        by_problem = self._traces()
        shares = by_problem / by_problem.sum(dim=0).clamp(min=1e-300)
        curvature = shares.sum(dim=1).cpu().numpy() + softmax.LEAST / len(self.X)
        drawn, share = softmax.draw(curvature, most)
        w = torch.tensor(curvature[drawn] * share, device=self.X.device)
        self._sample = torch.tensor(drawn, device=self.X.device)
        self._share = torch.tensor(share, device=self.X.device)
        x = self.X[self._sample]
        mean = w @ x.double() / w.sum() if centred else self._zeros((x.shape[1],))
        x = x - mean.to(x.dtype)
        scaled = x * w.sqrt().to(x.dtype)[:, None]
        axes = torch.linalg.eigh(scaled.T @ scaled)[1]
        self._along = x @ axes
        return mean.cpu().numpy(), axes.cpu().numpy()

    def sum_along_axes(self, directions: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, ...]:
        """As in `softmax.NumpyRows`."""
        U = torch.tensor(directions, device=self.X.device)
        P = self._p[self._sample][:, torch.tensor(which, device=self.X.device)].double().swapaxes(0, 1)
        w = (P @ U.square() - (P @ U).square()).clamp(min=0).swapaxes(1, 2)
        w = w * (self.weights[self._sample] * self._share)
        m, k, _ = w.shape
        flat = w.reshape(m * k, -1).to(self._along.dtype)
        first, second = flat @ self._along, flat @ self._along.square()
        sums = w.sum(dim=2), first.reshape(m, k, -1), second.reshape(m, k, -1)
        return tuple(part.double().cpu().numpy() for part in sums)

    def _traces(self) -> torch.Tensor:
        """Return s_i tr S_i of each row and problem, (n, m)."""
        return self.weights[:, None] * (1 - self._p.double().square().sum(dim=2)).clamp(min=0)

    def _columns(self, theta: np.ndarray, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        flat = theta.swapaxes(0, 1).reshape(theta.shape[1], -1)
        moved = torch.tensor(flat, device=self.X.device, dtype=dtype)
        return moved[:-1], moved[-1]

    def _by_problem(self, total: torch.Tensor) -> np.ndarray:
        found = total.cpu().numpy().reshape(len(total), -1, self.n_classes)
        return np.ascontiguousarray(found.swapaxes(0, 1))

    def _zeros(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.zeros(shape, device=self.X.device, dtype=dtype)

    @staticmethod
    def _add(total: torch.Tensor, x: torch.Tensor, r: torch.Tensor) -> None:
        total[:-1] += x.T @ r.to(x.dtype)
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
