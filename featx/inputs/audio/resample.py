"""Change the rate of samples with soxr."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import MissingExtra

#: The quality of soxr's filter: its own default, 20-bit precision.
QUALITY = "HQ"


def import_soxr() -> Any:
    """Import soxr, which changes rates."""
    try:
        import soxr
    except ImportError as error:
        raise MissingExtra("soxr", "audio", "changing the rate of audio") from error
    return soxr


def resampled_length(frames: int, rate: int, wanted: int) -> int:
    """Return how many frames `resample` makes: ``floor(frames * wanted / rate + 1/2)``."""
    return (2 * frames * wanted + rate) // (2 * rate)


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return samples, float32 (frames,), at another rate in hertz.

    What lies above half of the new rate is filtered out.
    """
    if rate == wanted:
        return samples
    changed: np.ndarray = import_soxr().resample(samples, rate, wanted, quality=QUALITY)
    return changed.astype(np.float32, copy=False)
