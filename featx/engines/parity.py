"""How near an accelerated engine's rows are to those of the network as it is, in fp32."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featx.backbones.multilayer import columns_of
from featx.engines.interface import Engine, engine_error
from featx.engines.torch import EagerEngine
from featx.errors import FeatxError

#: Images of the comparison, and of the second one that must confirm a refusal.
FEW, MANY = 4, 32

#: Largest relative error of a row in fp32.
RELATIVE_ERROR = 1e-3

#: (least cosine of any row, least mean cosine), by precision.
COSINES = {"bf16": (0.99, 0.999), "fp16": (0.99, 0.999), "int8": (0.95, 0.99)}


@dataclass(frozen=True)
class Parity:
    """How near an engine's rows are to those of the network as it is, in fp32.

    Attributes
    ----------
    engine, device, precision : str
        Of what was compared.
    images : int
        That both computed.
    relative_error : float
        Largest of any row: ``|a - b| / |b|``.
    cosine_min, cosine_mean : float
        Between the rows of an image.
    passed : bool
        In fp32 a relative error of at most 1e-3; in reduced precision a cosine of at least 0.99 for every
        image and of 0.999 on average; in int8, which is never chosen by itself, 0.95 and 0.99.
    """

    engine: str
    device: str
    precision: str
    images: int
    relative_error: float
    cosine_min: float
    cosine_mean: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.engine} {self.precision} on {self.device} against plain fp32 on {self.images} images: "
            f"relative error {self.relative_error:.2g}, cosine {self.cosine_min:.5f} at least, "
            f"{self.cosine_mean:.5f} on average"
        )


def measure_parity(engine: Engine, backbone: Any, pixels: np.ndarray) -> Parity:
    """Run an engine and the reference on the same images.

    Parameters
    ----------
    engine : Engine
    backbone : Backbone or MultiLayerBackbone
        Of several layers each is compared on its own, and what is farthest away counts.
    pixels : ndarray of shape (n, h, w, 3), uint8
        Preprocessed images, n at least 1.

    Raises
    ------
    EngineError
        Where the engine fails on them.
    """
    got = _as_in_a_run(engine, pixels)
    expected = EagerEngine(backbone)(pixels)
    finite = np.isfinite(expected).all(axis=1)  # what the network itself cannot compute says nothing
    if not finite.any():
        return Parity(engine.name, engine.device, engine.precision, 0, 0.0, 1.0, 1.0, passed=True)
    layers = [distances(got[finite, at], expected[finite, at]) for at in columns_of(backbone)]
    error = np.max([layer[0] for layer in layers], axis=0)
    cosines = min((layer[1] for layer in layers), key=lambda cosines: (cosines.mean(), cosines.min()))
    least_of_all = min(float(layer[1].min()) for layer in layers)
    if engine.precision == "fp32":
        passed = bool(error.max() <= RELATIVE_ERROR)
    else:
        least, mean = COSINES[engine.precision]
        passed = bool(least_of_all >= least and cosines.mean() >= mean)
    return Parity(
        engine=engine.name,
        device=engine.device,
        precision=engine.precision,
        images=int(finite.sum()),
        relative_error=float(error.max()),
        cosine_min=least_of_all,
        cosine_mean=float(cosines.mean()),
        passed=passed,
    )


def _as_in_a_run(engine: Engine, pixels: np.ndarray) -> np.ndarray:
    """Rows by the way on which a run computes them, which on a device is not that of a plain call."""
    try:
        parts = [pixels[at : at + engine.batch_size] for at in range(0, len(pixels), engine.batch_size)]
        return np.concatenate([engine.submit([part])() for part in parts])
    except FeatxError:
        raise
    except Exception as error:  # libraries raise classes of their own, and another engine may do
        raise engine_error(engine.name, error) from error


def distances(rows: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative error and cosine of each row; what is not finite is infinitely far away."""
    a, b = rows.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        error = np.linalg.norm(a - b, axis=1) / norm_b
        cosine = (a * b).sum(axis=1) / (norm_a * norm_b)
    both_zero = (norm_a == 0) & (norm_b == 0)
    error[both_zero], cosine[both_zero] = 0.0, 1.0
    return np.nan_to_num(error, nan=np.inf, posinf=np.inf), np.nan_to_num(cosine, nan=-1.0)
