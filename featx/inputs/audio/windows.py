"""Take a clip apart into windows of one length."""

from __future__ import annotations

import numpy as np


def window_starts(frames: int, window: int, hop: int) -> np.ndarray:
    """Return the first frames of the windows of a clip, int64 (k,).

    Windows start at multiples of the hop as long as they end in the clip; if frames are left, one more ends
    with the clip. So no window reaches beyond it, unless it is shorter than a window: then it is the only
    one.
    """
    if frames <= window:
        return np.zeros(1, np.int64)
    starts = np.arange(0, frames - window + 1, hop, dtype=np.int64)
    if starts[-1] + window < frames:
        starts = np.append(starts, frames - window)
    return starts


def spread_starts(frames: int, window: int, count: int) -> np.ndarray:
    """Return the first frames of `count` windows, spread evenly from the start of a clip to its end."""
    return np.rint(np.linspace(0, max(0, frames - window), count)).astype(np.int64)
