"""Front ends: what a network takes of samples, such as the samples themselves or their filter banks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

#: Settings of front ends that `preprocessing` may change where no network states them.
DESCRIBING = ("features", "rate", "bands", "scale", "fill", "margin", "shortest", "axes")


class FrontEnd(Protocol):
    """Turns samples into what a network takes; any thread may call it, and it can be pickled.

    Shorter windows than `shortest` are extended by silence to that length. `StatedFrontEnd` has what is the
    same for all that a network states.
    """

    @property
    def rate(self) -> int:
        """Samples per second, in hertz."""

    @property
    def bands(self) -> int | None:
        """Values at each position; None where a position is one sample."""

    @property
    def shortest(self) -> int:
        """Fewest samples of which `compute` makes a position that the network can use."""

    @property
    def identity(self) -> dict[str, Any]:
        """Its name and everything that changes what it computes, as plain JSON data."""

    @property
    def settings(self) -> dict[str, Any]:
        """What `preprocessing` may change, names of `DESCRIBING`; nothing where the network states it all."""

    @property
    def margin(self) -> float:
        """Seconds of silence before and behind every clip."""

    @property
    def filters(self) -> int | None:
        """How many of the first bands are values of a spectrum; None where a position is one sample."""

    def changed(self, settings: Mapping[str, Any]) -> FrontEnd:
        """Return the same front end with other `settings`."""

    def positions(self, samples: int) -> int:
        """Return how many positions `compute` makes of so many samples."""

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return float32 (positions,) or (positions, bands) of samples, float32 (frames,).

        With `length`, a window of fewer samples is extended to it in the way that the network was trained
        with; then every window has the same positions.
        """


class StatedFrontEnd:
    """Base of front ends that a network states: `preprocessing` changes nothing of them."""

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @property
    def margin(self) -> float:
        """No silence."""
        return 0.0

    @property
    def filters(self: FrontEnd) -> int | None:
        """All bands."""
        return self.bands

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """Return the front end itself: there are no settings."""
        return self


@dataclass(frozen=True)
class Waveform(StatedFrontEnd):
    """The samples themselves; with `normalize`, of mean 0 and variance 1, as wav2vec 2.0 takes them.

    ``(x - mean(x)) / sqrt(var(x) + 1e-7)``, as in `transformers.Wav2Vec2FeatureExtractor`.
    """

    rate: int = 16000
    normalize: bool = False
    shortest: int = 400
    bands: ClassVar[int | None] = None

    @property
    def identity(self) -> dict[str, Any]:
        """Name, rate and normalisation."""
        return {"name": "waveform", "rate": self.rate, "normalize": self.normalize}

    def positions(self, samples: int) -> int:
        """Return the number of samples."""
        return max(samples, self.shortest)

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return the samples, with zeros behind them up to `length`."""
        if self.normalize:
            mean, variance = samples.mean(dtype=np.float64), samples.var(dtype=np.float64)
            samples = ((samples - mean) / np.sqrt(variance + 1e-7)).astype(np.float32)
        wanted = max(self.shortest, length or 0)
        return np.pad(samples, (0, wanted - len(samples))) if len(samples) < wanted else samples
