"""Front ends that a user describes, for networks that do not state what they take of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featx.errors import InputError
from featx.inputs.audio.front_ends import FrontEnd, StatedFrontEnd
from featx.inputs.audio.kaldi import KaldiFrames

WAVEFORM = "waveform"
#: What a network may take of samples: these, or frames of them.
FEATURES = (WAVEFORM, "kaldi:fbank", "kaldi:mfcc")
#: Bands of a frame where none are stated.
_BANDS = {"kaldi:fbank": 80, "kaldi:mfcc": 13}
#: Lowest and highest rate, in hertz.
_RATES = (1000, 192_000)
#: Ways to extend a window.
_FILLS = ("repeat", "around", "before", "behind")
#: Most seconds of silence around a clip, and of the shortest window.
_MOST_SECONDS = 60
#: Names of the axes behind the first one of a network's input; `ONE` has the length 1.
SAMPLES, FRAMES, BANDS, ONE = "samples", "frames", "bands", "one"


@dataclass(frozen=True)
class DescribedFrontEnd(StatedFrontEnd):
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
    fill : {"repeat", "around", "before", "behind"}, default="repeat"
        What a shorter window is extended by: itself, or silence on both sides of it, before or behind it.
    margin : float, default=0.0
        Seconds of silence before and behind every clip.
    shortest_window : float, default=0.0
        Seconds of the shortest window that the network takes; the setting is called ``shortest``.
    axes : tuple of str, optional
        Names of the axes behind the first one of a graph's input, such as ``("bands", "frames")``, where its
        shape does not tell them.
    """

    features: str = WAVEFORM
    rate: int = 16000
    bands: int | None = None
    scale: float = 1.0
    fill: str = "repeat"
    margin: float = 0.0
    shortest_window: float = 0.0
    axes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise InputError(
                f"preprocessing: features must be one of {', '.join(FEATURES)}, got {self.features!r:.40}"
            )
        if self.fill not in _FILLS:
            raise InputError(f"preprocessing: fill must be one of {', '.join(_FILLS)}, got {self.fill!r:.40}")
        for name, seconds in (("margin", self.margin), ("shortest", self.shortest_window)):
            number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
            if not number or not 0 <= seconds <= _MOST_SECONDS:
                raise InputError(
                    f"preprocessing: {name} must be from 0 to {_MOST_SECONDS} seconds, got {seconds!r:.40}"
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
        axes: Any = self.axes
        listed = isinstance(axes, (list, tuple)) and all(isinstance(axis, str) for axis in axes)
        if not listed or sorted(axis for axis in axes if axis != ONE) != sorted(needed):
            raise InputError(
                f"preprocessing: axes must name those behind the first one, {' and '.join(needed)} and any "
                f"number of {ONE!r}, got {axes!r:.60}"
            )
        return tuple(axes)

    @property
    def _frames(self) -> KaldiFrames | None:
        if self.bands is None:
            return None
        return KaldiFrames(self.features.removeprefix("kaldi:"), self.bands, self.rate)

    @property
    def settings(self) -> dict[str, Any]:
        """What `preprocessing` may change."""
        return {
            "features": self.features,
            "rate": self.rate,
            "bands": self.bands,
            "scale": float(self.scale),
            "fill": self.fill,
            "margin": float(self.margin),
            "shortest": float(self.shortest_window),
            "axes": None if self.axes is None else list(self.axes),
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What `settings` do not say of the values."""
        frames: FrontEnd | None = self._frames
        return {"name": WAVEFORM} if frames is None else frames.identity

    @property
    def shortest(self) -> int:
        """Samples of the shortest window that the network takes, and at least those of one frame."""
        frames = self._frames
        return max(1 if frames is None else frames.shortest, round(self.shortest_window * self.rate))

    def positions(self, samples: int) -> int:
        """Return the number of samples, or of frames."""
        samples = max(samples, self.shortest)
        return samples if self._frames is None else self._frames.positions(samples)

    def samples_of(self, positions: int) -> int:
        """Return the fewest samples of which there are so many positions."""
        frames = self._frames
        return positions if frames is None else frames.shortest + (positions - 1) * frames.shift

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return samples or frames, of samples that are extended to `length` as `fill` says."""
        wanted = max(self.shortest, length or 0)
        if len(samples) < wanted:
            samples = self._extend(samples, wanted)
        frames = self._frames
        found = samples if frames is None else frames.compute(samples)
        return found if self.scale == 1 else found * np.float32(self.scale)

    def changed(self, settings: Mapping[str, Any]) -> DescribedFrontEnd:
        """Return the same front end with other settings."""
        return replace(self, **{"shortest_window" if k == "shortest" else k: v for k, v in settings.items()})

    def _extend(self, samples: np.ndarray, wanted: int) -> np.ndarray:
        if self.fill == "repeat":
            return np.resize(samples, wanted)
        lacking = wanted - len(samples)
        before = {"before": lacking, "behind": 0, "around": lacking // 2}[self.fill]
        return np.pad(samples, (before, lacking - before))
