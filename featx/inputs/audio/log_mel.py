"""The log mel spectrogram of Whisper, and which of its frames are audio.

A. Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023. The same numbers
as `transformers.WhisperFeatureExtractor`, which computes the frames of 30 seconds for any clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from featx.inputs.audio.front_ends import StatedFrontEnd

#: Least energy of a band.
_FLOOR = 1e-10
#: The mel scale of Slaney's Auditory Toolbox: linear below 1,000 Hz, 27 steps to 6,400 Hz above.
_LINEAR, _KNEE, _STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27
#: Highest frequency of the filters, in hertz, at any rate.
_HIGHEST = 8000.0
#: Filters in a group, and frames that are computed at a time: they stay in the cache of the core.
_GROUP = 16
_BLOCK = 128


@dataclass(frozen=True)
class LogMelFrames(StatedFrontEnd):
    """Log mel filter banks; a last column says which frames are audio, 1, or silence behind it, 0.

    Values are within 8 of the loudest one of the window (in powers of ten), then scaled: ``(v + 4) / 4``.

    Parameters
    ----------
    filters : int, default=80
    rate : int, default=16000
    n_fft : int, default=400
        Samples of a frame.
    hop : int, default=160
        Samples from one frame to the next.
    """

    filters: int = 80
    rate: int = 16000
    n_fft: int = 400
    hop: int = 160

    @property
    def bands(self) -> int:
        """The filters, and the column that says what is audio."""
        return self.filters + 1

    @property
    def shortest(self) -> int:
        """Samples of a frame."""
        return self.n_fft

    @property
    def identity(self) -> dict[str, Any]:
        """Name and settings."""
        return {
            "name": "log-mel",
            "rate": self.rate,
            "filters": self.filters,
            "n_fft": self.n_fft,
            "hop": self.hop,
        }

    def positions(self, samples: int) -> int:
        """Return the frames of so many samples: one for each hop."""
        return max(samples, self.shortest) // self.hop

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return frames, float32 (frames, filters + 1), of samples with silence up to `length`."""
        whole = max(len(samples), length or 0, self.shortest)
        # Frames of nothing but silence are known. Two frames behind the clip, the others do not reach.
        near = min(whole, len(samples) + 2 * self.n_fft)
        frames = np.empty((self.positions(whole), self.bands), np.float32)
        levels = self._levels(np.pad(samples, (0, near - len(samples))))
        floor = np.log10(_FLOOR)
        loudest = levels.max() if len(levels) == len(frames) else max(levels.max(), floor)
        np.maximum(levels, loudest - 8.0, out=levels)
        levels += 4.0
        levels /= 4.0
        frames[: len(levels), :-1] = levels
        frames[len(levels) :, :-1] = (max(floor, loudest - 8.0) + 4.0) / 4.0
        frames[:, -1] = np.arange(len(frames)) * self.hop < len(samples)
        return frames

    def _levels(self, samples: np.ndarray) -> np.ndarray:
        """Return the logarithms of the energies in the bands, (frames, filters), of reflected samples."""
        margin, count = self.n_fft // 2, self.positions(len(samples))
        reflected = np.empty(len(samples) + 2 * margin)
        reflected[margin : margin + len(samples)] = samples
        reflected[:margin] = samples[margin:0:-1]
        reflected[margin + len(samples) :] = samples[-2 : -2 - margin : -1]
        frames = np.lib.stride_tricks.sliding_window_view(reflected, self.n_fft)[:: self.hop][:count]
        hann, groups = _hann(self.n_fft), _filter_groups(self.filters, self.n_fft, self.rate)
        block = np.empty((min(_BLOCK, count), self.n_fft))
        levels = np.empty((count, self.filters))
        for at in range(0, count, _BLOCK):
            some = frames[at : at + _BLOCK]
            spectrum = np.fft.rfft(np.multiply(some, hann, out=block[: len(some)]))
            energies = spectrum.real**2
            energies += spectrum.imag**2
            for bands, within, weights in groups:
                np.matmul(energies[:, within], weights, out=levels[at : at + _BLOCK, bands])
        np.maximum(levels, _FLOOR, out=levels)
        logarithms: np.ndarray = np.log10(levels, out=levels)
        return logarithms


@lru_cache(maxsize=8)
def _hann(length: int) -> np.ndarray:
    """Return the periodic Hann window."""
    window: np.ndarray = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return window


@lru_cache(maxsize=8)
def mel_filters(filters: int, n_fft: int, rate: int) -> np.ndarray:
    """Return triangular filters evenly spaced on Slaney's mel scale from 0 to 8,000 Hz, each of area 1.

    float64 (n_fft // 2 + 1, filters), from energies of frequencies to energies of bands.
    """
    knee = _KNEE / _LINEAR
    mels = np.linspace(0.0, knee + np.log(_HIGHEST / _KNEE) / _STEP, filters + 2)
    edges = np.where(mels < knee, _LINEAR * mels, _KNEE * np.exp(_STEP * (mels - knee)))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    at = np.linspace(0, rate // 2, n_fft // 2 + 1)[:, None]
    rising, falling = (at - left) / (centre - left), (right - at) / (right - centre)
    weights: np.ndarray = np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)
    return weights


@lru_cache(maxsize=8)
def _filter_groups(filters: int, n_fft: int, rate: int) -> list[tuple[slice, slice, np.ndarray]]:
    """Return `mel_filters` in groups: the bands, the frequencies that they take, and the weights of these.

    A filter takes few frequencies, so most weights are 0; in groups, most of those are left out.
    """
    weights, groups = mel_filters(filters, n_fft, rate), []
    for first in range(0, filters, _GROUP):
        bands = slice(first, min(first + _GROUP, filters))
        taken = np.flatnonzero(weights[:, bands].any(axis=1))
        within = slice(taken[0], taken[-1] + 1) if len(taken) else slice(0, 1)
        groups.append((bands, within, np.ascontiguousarray(weights[within, bands])))
    return groups
