"""Compute the large products of the probes where a study is asked to: on the CPU, or on another device.

`Products` computes by NumPy and SciPy. `featx.methods.probes.device_products` computes the large products by
torch on a GPU, and leaves the others to `Products`. Arrays go in and come out as NumPy's, of the same dtype:
fitters and solvers do not know where a product was computed, and a fitted estimator is the same.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigh

from featx.methods.probes.newton_folds import FoldNewton
from featx.methods.probes.softmax import NumpyRows

if TYPE_CHECKING:
    from featx.methods.probes.fold_losses import Softmax, SquaredHinge
    from featx.methods.probes.fold_rows import SharedRows, StackedRows

#: Rows whose products are summed in single precision.
SUMMED = 8192
# Products in memory at once.
_MOST_PRODUCTS = 4_000_000


class KeptRows:
    """Rows X B (n, p), which are multiplied by few columns many times, as their factors (n, q) and (q, p)."""

    def __init__(self, X: np.ndarray, basis: np.ndarray):
        self._X, self._basis = X, basis

    def scores(self, W: np.ndarray) -> np.ndarray:
        """Return W (X B)^T, (J, n), for coefficients (J, p)."""
        # The transposed product takes BLAS less time.
        return np.ascontiguousarray((self._X @ (self._basis @ W.T)).T)

    def sum_rows(self, E: np.ndarray) -> np.ndarray:
        """Return E X B, (J, p), for factors of the rows (J, n)."""
        return E @ self._X @ self._basis


class Products:
    """Products of rows on the CPU."""

    def multiply(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Return A B, (m, n), for A (m, p) and B (p, n)."""
        return A @ B

    def scatter(self, rows: np.ndarray) -> np.ndarray:
        """Return X^T X, (d, d) float64; float32 rows are multiplied in single precision, in blocks."""
        total = np.zeros((rows.shape[1], rows.shape[1]))
        for at in range(0, len(rows), SUMMED):
            block = rows[at : at + SUMMED]
            total += block.T @ block
        return total

    def eigh(self, M: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` largest eigenvalues (k,) of a symmetric M (n, n), rising, and vectors (n, k)."""
        n = len(M)
        # Where many vectors are wanted it is faster to take all of them, by divide and conquer. LAPACK is
        # fastest with the upper triangle in the order of columns.
        if 4 * k >= n:
            values, vectors = eigh(M.T, lower=False, driver="evd", check_finite=False)
            return values[n - k :], vectors[:, n - k :]
        return eigh(M.T, lower=False, subset_by_index=[n - k, n - 1], check_finite=False)

    def nearest(self, rows: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
        """Return the positions (m, k) of the `k` rows (n, p) nearest to each query (m, p), in any order."""
        found = np.empty((len(queries), k), np.int64)
        half = np.einsum("ij,ij->i", rows, rows) / 2
        step = max(1, _MOST_PRODUCTS // len(rows))
        for at in range(0, len(queries), step):
            # ||x - r||^2 / 2 without the part that all rows have in common.
            far = queries[at : at + step] @ rows.T
            np.subtract(half, far, out=far)
            found[at : at + step] = np.argpartition(far, k - 1, axis=1)[:, :k]
        return found

    def newton(
        self, rows: SharedRows | StackedRows, loss: Softmax | SquaredHinge, *, penalised: bool = False
    ) -> FoldNewton:
        """Return the solver of several folds."""
        return FoldNewton(rows, loss, penalised=penalised)

    def keep(self, X: np.ndarray, basis: np.ndarray, columns: int) -> KeptRows:
        """Return rows X B that are multiplied many times, by so many columns."""
        return KeptRows(X, basis)

    def logistic_rows(self, X: Any, codes: np.ndarray, weights: np.ndarray, n_classes: int) -> Any:
        """Return the rows of `newton.NewtonPath`: a `NumpyRows`, or a `TorchRows` on another device."""
        return NumpyRows(X, codes, weights, n_classes)

    def take_notes(self) -> list[str]:
        """Return what a reader of the results should know, once."""
        return []


#: Everything by NumPy and SciPy.
ON_CPU = Products()


def products_on(device: Any) -> Products:
    """Return what computes the products of a study.

    Parameters
    ----------
    device : str or torch.device
        As the option ``device``. A named GPU ("cuda", "cuda:1", "mps") computes the large products. For
        "auto" and "cpu" it is the CPU: what a study finds should not depend on the machine, and torch need
        not be imported where no network runs.

    Raises
    ------
    InputError
        The device is not there.
    """
    if _is_cpu(device):
        return ON_CPU
    from featx.engines.resolver import find_device
    from featx.methods.probes.device_products import DeviceProducts

    return DeviceProducts(find_device(str(device)))


def computed_by(device: Any) -> list[str]:
    """Return the names of what computes products on a device, as a part of the definition of a fit."""
    if _is_cpu(device):
        return ["numpy"]
    return ["numpy", f"torch {metadata.version('torch')} on {str(device).partition(':')[0]}"]


def _is_cpu(device: Any) -> bool:
    return str(device) in ("auto", "cpu")
