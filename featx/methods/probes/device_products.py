"""Compute the large products of the probes by torch, on a GPU.

A product goes to the device if it takes at least `WORTH` multiplications: a smaller one takes the CPU a few
milliseconds, hardly more than copying to the device and back. Products of float32 rows are in full single
precision (TF32, with 10 bits of mantissa, is off); sums of blocks are in double precision, as on the CPU.
What the device cannot compute stays on the CPU: double precision and decompositions on Apple's GPUs, and what
does not fit into the device's memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from featx.engines.torch import full_fp32, out_of_memory
from featx.methods.probes.device_folds import DeviceRows, Place, device_loss
from featx.methods.probes.fold_losses import Softmax, SquaredHinge
from featx.methods.probes.fold_rows import SharedRows, StackedRows
from featx.methods.probes.newton_folds import FoldNewton
from featx.methods.probes.products import SUMMED, KeptRows, Products
from featx.methods.probes.torch_rows import TorchRows

R = TypeVar("R")

#: Multiplications from which a product is computed on the device. One core of a server takes 3 to 4 ms for
#: them in single precision.
WORTH = 200_000_000
# Products of queries and rows on the device at once.
_MOST_PRODUCTS = 2**28


class DeviceProducts(Products):
    """Products of rows, the large ones on a device.

    Parameters
    ----------
    device : str or torch.device
        A device that is there; for tests also "cpu".
    """

    def __init__(self, device: str | torch.device):
        where = torch.device(device)
        self.place = Place(where, where.type != "mps")
        self._notes: list[str] = []

    def multiply(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """As `Products.multiply`."""
        on_cpu = super().multiply
        if A.dtype != B.dtype or not self._suits(A.dtype, A.size * B.shape[1]):
            return on_cpu(A, B)
        return self.attempt(
            lambda: self.place.get(self.place.put(A) @ self.place.put(B)), lambda: on_cpu(A, B)
        )

    def scatter(self, rows: np.ndarray) -> np.ndarray:
        """As `Products.scatter`."""
        on_cpu, d = super().scatter, rows.shape[1]
        if not self._suits(rows.dtype, rows.size * d):
            return on_cpu(rows)

        def work() -> np.ndarray:
            total: Any = 0
            for at in range(0, len(rows), SUMMED):
                block = self.place.put(rows[at : at + SUMMED])
                product = block.T @ block
                total = total + (product if self.place.doubles else product.cpu()).double()
            return self.place.get(total)

        return self.attempt(work, lambda: on_cpu(rows))

    def eigh(self, M: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Products.eigh`."""
        on_cpu = super().eigh
        # Its many short steps keep a GPU less busy than a product does; for Apple's, torch has none.
        if not self.place.doubles or len(M) ** 3 < 10 * WORTH:
            return on_cpu(M, k)

        def work() -> tuple[np.ndarray, np.ndarray]:
            values, vectors = torch.linalg.eigh(self.place.put(M))
            return self.place.get(values[-k:]), self.place.get(vectors[:, -k:])

        return self.attempt(work, lambda: on_cpu(M, k))

    def nearest(self, rows: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
        """As `Products.nearest`."""
        on_cpu = super().nearest
        if not self._suits(rows.dtype, len(queries) * rows.size):
            return on_cpu(rows, queries, k)

        def work() -> np.ndarray:
            x = self.place.put(rows)
            half, found = x.square().sum(dim=1) / 2, []
            step = max(1, _MOST_PRODUCTS // len(rows))
            for at in range(0, len(queries), step):
                far = half - self.place.put(queries[at : at + step]) @ x.T
                found.append(self.place.get(far.topk(k, dim=1, largest=False, sorted=False).indices))
            return np.concatenate(found)

        return self.attempt(work, lambda: on_cpu(rows, queries, k))

    def newton(
        self, rows: SharedRows | StackedRows, loss: Softmax | SquaredHinge, *, penalised: bool = False
    ) -> FoldNewton:
        """As `Products.newton`."""
        F, n, p = rows.shape
        if not self._suits(rows.dtype, F * loss.columns * n * p):
            return super().newton(rows, loss, penalised=penalised)
        return _DeviceNewton(self, rows, loss, penalised)

    def keep(self, X: np.ndarray, basis: np.ndarray, columns: int) -> KeptRows:
        """As `Products.keep`."""
        if not self._suits(X.dtype, X.size * columns):
            return super().keep(X, basis, columns)
        return _DeviceKept(self, X, basis)

    def logistic_rows(self, X: Any, codes: np.ndarray, weights: np.ndarray, n_classes: int) -> Any:
        """As `Products.logistic_rows`."""
        on_cpu = super().logistic_rows
        if not self.place.doubles or X.shape[0] * X.shape[1] * n_classes < WORTH:
            return on_cpu(X, codes, weights, n_classes)
        return self.attempt(
            lambda: TorchRows(X, codes, weights, n_classes, self.place.device),
            lambda: on_cpu(X, codes, weights, n_classes),
        )

    def take_notes(self) -> list[str]:
        """As `Products.take_notes`."""
        notes, self._notes = self._notes, []
        return notes

    def attempt(self, work: Callable[[], R], on_cpu: Callable[[], R]) -> R:
        """Return what `work` returns; if the device has too little memory for it, what `on_cpu` returns."""
        try:
            with self._full_precision():
                return work()
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Outside of the block the tensors of `work` are freed.
        if self.place.device.type == "cuda":
            torch.cuda.empty_cache()
        note = f"computed in part by the CPU: the memory of {self.place.device} was too small"
        self._notes += [note] if note not in self._notes else []
        return on_cpu()

    def _suits(self, dtype: np.dtype, multiplications: int) -> bool:
        return multiplications >= WORTH and (
            dtype == np.float32 or (self.place.doubles and dtype == np.float64)
        )

    def _full_precision(self) -> contextlib.AbstractContextManager[None]:
        return full_fp32() if self.place.device.type == "cuda" else contextlib.nullcontext()


class _DeviceKept(KeptRows):
    """Multiply rows that are on the device; on the CPU from where they do not fit."""

    def __init__(self, products: DeviceProducts, X: np.ndarray, basis: np.ndarray):
        super().__init__(X, basis)
        self._products, self._factors, self._lost = products, None, False

    def scores(self, W: np.ndarray) -> np.ndarray:
        """As `KeptRows.scores`."""
        return self._multiply(W, lambda W, X, B: W @ B.T @ X.T, super().scores)

    def sum_rows(self, E: np.ndarray) -> np.ndarray:
        """As `KeptRows.sum_rows`."""
        return self._multiply(E, lambda E, X, B: E @ X @ B, super().sum_rows)

    def _multiply(
        self, A: np.ndarray, work: Callable[..., Any], on_cpu: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        place = self._products.place

        def on_device() -> np.ndarray:
            if self._factors is None:
                self._factors = place.put(self._X), place.put(self._basis)
            return place.get(work(place.put(A), *self._factors))

        def instead() -> np.ndarray:
            self._factors, self._lost = None, True
            return on_cpu(A)

        return on_cpu(A) if self._lost else self._products.attempt(on_device, instead)


class _DeviceNewton(FoldNewton):
    """Solve on rows that are on the device; on the CPU from where they do not fit."""

    def __init__(
        self,
        products: DeviceProducts,
        rows: SharedRows | StackedRows,
        loss: Softmax | SquaredHinge,
        penalised: bool,
    ):
        super().__init__(rows, loss, penalised=penalised)
        self._products, self._on_cpu, self._tried = products, (rows, loss), False

    def solve(self, C: float, *, tol: float, max_iter: int = 100) -> tuple[np.ndarray, np.ndarray, int, bool]:
        """As `FoldNewton.solve`."""
        solve = partial(super().solve, C, tol=tol, max_iter=max_iter)
        if self._tried and (self._rows, self._loss) == self._on_cpu:
            return solve()

        def on_device() -> tuple[np.ndarray, np.ndarray, int, bool]:
            if not self._tried:
                self._tried = True
                (rows, loss), place = self._on_cpu, self._products.place
                self._rows, self._loss = DeviceRows(rows, place), device_loss(loss, rows.dtype, place)
            return solve()

        def on_cpu() -> tuple[np.ndarray, np.ndarray, int, bool]:
            self._rows, self._loss = self._on_cpu
            return solve()

        return self._products.attempt(on_device, on_cpu)
