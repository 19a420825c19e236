"""The parity check: how far an engine's rows are from those of the plain network in fp32."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featx.backbones.multilayer import columns_of
from featx.engines.interface import Engine, engine_error
from featx.engines.torch import EagerEngine
from featx.errors import FeatxError
from featx.kinds import count_of

#: Inputs of the check, and of the second check that must confirm a failure.
FEW, MANY = 4, 32

#: Largest relative error of a row in fp32.
RELATIVE_ERROR = 1e-3

#: By precision: least cosine of any row, and least mean cosine.
COSINES = {"bf16": (0.99, 0.999), "fp16": (0.99, 0.999), "int8": (0.95, 0.99)}


@dataclass(frozen=True)
class Parity:
    """How far an engine's rows are from those of the plain network in fp32.

    Attributes
    ----------
    engine, device, precision : str
        What the engine is and how it ran.
    images : int
        Inputs that both computed.
    relative_error : float
        The largest ``|a - b| / |b|`` of any row.
    cosine_min, cosine_mean : float
        Between the two rows of an input.
    passed : bool
        In fp32: the relative error is at most 1e-3. In reduced precision: the cosine is at least 0.99 for
        every input and 0.999 on average; in int8, which is never chosen automatically, 0.95 and 0.99.
    kind : str
        The kind of input.
    """

    engine: str
    device: str
    precision: str
    images: int
    relative_error: float
    cosine_min: float
    cosine_mean: float
    passed: bool
    kind: str = "image"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.engine} {self.precision} on {self.device} against plain fp32 on "
            f"{count_of(self.images, self.kind)}: relative error {self.relative_error:.2g}, "
            f"cosine {self.cosine_min:.5f} at least, {self.cosine_mean:.5f} on average"
        )


def measure_parity(engine: Engine, backbone: Any, batch: np.ndarray) -> Parity:
    """Run an engine and the plain network on the same inputs, and compare the rows.

    Parameters
    ----------
    engine : Engine
    backbone : Backbone or MultiLayerBackbone
        Each of several layers is compared on its own, and the worst counts.
    batch : ndarray of shape (n, ...)
        Prepared inputs, n at least 1. An `EngineError` says that the engine fails on them.
    """
    kind = backbone.inputs.kind
    got, expected = _run_both(engine, EagerEngine(backbone), batch)
    finite = np.isfinite(expected).all(axis=1)  # an overflow of the network itself is not the engine's fault
    if not finite.any():
        return Parity(engine.name, engine.device, engine.precision, 0, 0.0, 1.0, 1.0, passed=True, kind=kind)
    layers = [distances(got[finite, at], expected[finite, at]) for at in columns_of(backbone, joined=False)]
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
        kind=kind,
    )


def _run_both(engine: Engine, plain: EagerEngine, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows by the engine and by the plain network.

    Rows are computed through `submit`, as in an extraction; on a device, a plain call works differently.
    """
    if None not in plain.backbone.preparation.shape:
        parts = [batch[at : at + engine.batch_size] for at in range(0, len(batch), engine.batch_size)]
        return _submit_all(engine, parts), plain(batch)
    parts, order = _divide(plain.backbone.preparation, engine, batch)
    back = np.argsort(order)
    # The plain network gets the same batches: all of the longest inputs at once may need too much memory.
    return _submit_all(engine, parts)[back], np.concatenate([plain(part) for part in parts])[back]


def _divide(preparation: Any, engine: Engine, batch: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return batches that suit the engine, and which input each of their rows is, where lengths vary.

    Where the network does not mask padding, all inputs of a batch have one length.
    """
    if preparation.masks:
        size = engine.inputs_of_length(batch.shape[1])
        return [batch[at : at + size] for at in range(0, len(batch), size)], np.arange(len(batch))
    own = [preparation.collate([one]) for one in batch]
    lengths = np.array([one.shape[1] for one in own])
    parts, order = [], []
    for length in np.unique(lengths):
        same, size = np.flatnonzero(lengths == length), engine.inputs_of_length(int(length))
        parts += [np.concatenate([own[i] for i in same[at : at + size]]) for at in range(0, len(same), size)]
        order.append(same)
    return parts, np.concatenate(order)


def _submit_all(engine: Engine, parts: list[np.ndarray]) -> np.ndarray:
    try:
        return np.concatenate([engine.submit([part])() for part in parts])
    except FeatxError:
        raise
    except Exception as error:  # of any library; another engine may work
        raise engine_error(engine.name, error) from error


def distances(rows: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return relative error and cosine of each row; a row that is not finite is infinitely far away."""
    a, b = rows.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        error = np.linalg.norm(a - b, axis=1) / norm_b
        cosine = (a * b).sum(axis=1) / (norm_a * norm_b)
    both_zero = (norm_a == 0) & (norm_b == 0)
    error[both_zero], cosine[both_zero] = 0.0, 1.0
    return np.nan_to_num(error, nan=np.inf, posinf=np.inf), np.nan_to_num(cosine, nan=-1.0)
