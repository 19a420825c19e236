"""Front ends that a user describes, for networks that do not state what they take of samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featx.errors import InputError
from featx.inputs.audio.front_ends import FrontEnd
from featx.inputs.audio.kaldi import KaldiFrames

WAVEFORM = "waveform"
#: What a network may take of samples: these, or frames of them.
FEATURES = (WAVEFORM, "kaldi:fbank", "kaldi:mfcc")
#: Bands of a frame where none are stated.
_BANDS = {"kaldi:fbank": 80, "kaldi:mfcc": 13}
#: Lowest and highest rate, in hertz.
_RATES = (1000, 192_000)
#: Names of the axes behind the first one of a network's input; `ONE` has the length 1.
SAMPLES, FRAMES, BANDS, ONE = "samples", "frames", "bands", "one"


@dataclass(frozen=True)
class DescribedFrontEnd:
    """Samples times `scale`, or frames of them as Kaldi computes them.

    Parameters
    ----------
    features : {"waveform", "kaldi:fbank", "kaldi:mfcc"}
    rate : int
        Samples per second that the network takes.
    bands : int, optional
        Values of a frame: by default 80 of ``kaldi:fbank``, 13 of ``kaldi:mfcc``.
    scale : float, default=1.0
        What samples from -1 to 1, or the values of frames, are multiplied by; 32768 for networks that take
        whole numbers of 16 bits.
    axes : tuple of str, optional
        Names of the axes behind the first one of a graph's input, such as ``("bands", "frames")``, where its
        shape does not tell them.
    fewest : int, default=1
        Samples of the shortest window that the network takes; none of the settings.
    """

    features: str = WAVEFORM
    rate: int = 16000
    bands: int | None = None
    scale: float = 1.0
    axes: tuple[str, ...] | None = None
    fewest: int = 1

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise InputError(
                f"preprocessing: features must be one of {', '.join(FEATURES)}, got {self.features!r:.40}"
            )
        rate, scale = self.rate, self.scale
        if isinstance(rate, bool) or not isinstance(rate, int) or not _RATES[0] <= rate <= _RATES[1]:
            raise InputError(
                f"preprocessing: rate must be whole hertz from {_RATES[0]} to {_RATES[1]:,}, got {rate!r:.40}"
            )
        number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
        if not number or not 0 < abs(scale) < 1e9:
            raise InputError(f"preprocessing: scale must be a number other than 0, got {scale!r:.40}")
        if self.features == WAVEFORM:
            if self.bands is not None:
                raise InputError("preprocessing: bands have no effect with features 'waveform'")
        elif self.bands is None:
            object.__setattr__(self, "bands", _BANDS[self.features])
        if self.axes is not None:
            object.__setattr__(self, "axes", self._checked_axes())
        if self._frames is not None:
            self._frames.check()

    def _checked_axes(self) -> tuple[str, ...]:
        needed = (SAMPLES,) if self.bands is None else (FRAMES, BANDS)
        axes = self.axes
        listed = isinstance(axes, (list, tuple)) and all(isinstance(axis, str) for axis in axes)
        if not listed or sorted(axis for axis in axes if axis != ONE) != sorted(needed):  # type: ignore[union-attr]
            raise InputError(
                f"preprocessing: axes must name those behind the first one, {' and '.join(needed)} and any "
                f"number of {ONE!r}, got {axes!r:.60}"
            )
        return tuple(axes)  # type: ignore[arg-type]

    @property
    def _frames(self) -> KaldiFrames | None:
        if self.bands is None:
            return None
        return KaldiFrames(self.features.removeprefix("kaldi:"), self.bands, self.rate)

    @property
    def settings(self) -> dict[str, Any]:
        """What `preprocessing` may change."""
        axes = {} if self.axes is None else {"axes": list(self.axes)}
        return {
            "features": self.features,
            "rate": self.rate,
            "bands": self.bands,
            "scale": float(self.scale),
            **axes,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes a value."""
        frames: FrontEnd | None = self._frames
        found = {"name": WAVEFORM, "rate": self.rate} if frames is None else frames.identity
        return {**found, "factor": float(self.scale), "fewest": self.fewest}

    @property
    def shortest(self) -> int:
        """Samples of the shortest window that the network takes, and at least those of one frame."""
        return max(self.fewest, 1 if self._frames is None else self._frames.shortest)

    def positions(self, samples: int) -> int:
        """Return the number of samples, or of frames."""
        samples = max(samples, self.shortest)
        return samples if self._frames is None else self._frames.positions(samples)

    def samples_of(self, positions: int) -> int:
        """Return the fewest samples of which there are so many positions."""
        frames = self._frames
        return positions if frames is None else frames.shortest + (positions - 1) * frames.shift

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return samples or frames, with zeros behind the samples up to `length`."""
        wanted = max(self.shortest, length or 0)
        if len(samples) < wanted:
            samples = np.pad(samples, (0, wanted - len(samples)))
        frames = self._frames
        found = samples if frames is None else frames.compute(samples)
        return found if self.scale == 1 else found * np.float32(self.scale)

    def at_least(self, samples: int) -> DescribedFrontEnd:
        """Return the front end of a network that takes no shorter windows."""
        return replace(self, fewest=samples)
