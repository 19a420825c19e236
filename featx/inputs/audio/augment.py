"""Change a clip at random for a training: crop or shift, gain, noise, and masks of time and frequency.

Masks are those of SpecAugment (Park et al., "SpecAugment: a simple data augmentation method for automatic
speech recognition", Interspeech 2019) without its warping of time: two of time and, where a position has
bands, two of bands, filled with the mean of the window. Their widths are drawn evenly from 0 to a share of
the window (Park et al., "SpecAugment on large scale datasets", ICASSP 2020, for clips of different lengths).
"""

from __future__ import annotations

import numpy as np

from featx.inputs.audio.preparation import AudioPreparation

#: Defaults: largest share of the positions and of the bands of one mask, probability of noise, largest gain
#: in decibels up or down, and seconds of the largest shift.
TIME_MASK, BAND_MASK, NOISE, GAIN, SHIFT = 0.2, 0.3, 0.5, 6.0, 0.1
#: Masks of each sort.
MASKS = 2
#: Range of the signal-to-noise ratio, in decibels.
_RATIOS = (10.0, 30.0)
#: Largest share of a clip by which it is shifted.
_MOST_SHIFTED = 0.1


def augment_clip(
    samples: np.ndarray,
    rng: np.random.Generator,
    preparation: AudioPreparation,
    *,
    time_mask: float = TIME_MASK,
    band_mask: float = BAND_MASK,
    noise: float = NOISE,
    gain: float = GAIN,
    shift: float = SHIFT,
) -> np.ndarray:
    """Return the windows of a changed clip, float32 (windows, positions[, bands]).

    A longer clip is shown by one window that begins anywhere; with `concat`, whose row needs every window, by
    all of them.

    Parameters
    ----------
    samples : ndarray of shape (frames,)
        float32, at the network's rate; they are not changed.
    rng : numpy.random.Generator
    preparation : AudioPreparation
        How the result is taken apart and turned into what the network takes.
    time_mask, band_mask : float
        Largest share of the positions, and of the bands, that one mask covers.
    noise : float
        Probability of white noise, 10 to 30 decibels below the clip.
    gain : float
        Decibels by which the clip becomes louder or softer, at most.
    shift : float
        Seconds by which the clip begins earlier or later, at most, and at most a tenth of it.
    """
    if preparation.windows is None and len(samples) > preparation.samples:
        start = int(rng.integers(0, len(samples) - preparation.samples + 1))
        changed = samples[start : start + preparation.samples]
    else:
        changed = _shift(samples, rng, round(shift * preparation.front_end.rate))
        if preparation.windows is None:
            changed = changed[: preparation.samples]
    changed = changed * np.float32(10 ** (rng.uniform(-gain, gain) / 20))
    if rng.random() < noise:
        changed = add_noise(changed, rng.uniform(*_RATIOS), rng)
    windows = np.array(preparation.transform(changed))
    front_end = preparation.front_end
    positions = front_end.positions(min(len(changed), preparation.samples))
    for window in windows:
        mask_window(window, rng, min(positions, len(window)), front_end.filters, time_mask, band_mask)
    return windows


def add_noise(samples: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return samples with white noise, at a ratio of the signal's power to the noise's in decibels."""
    power = np.mean(np.square(samples, dtype=np.float64))
    noise = rng.standard_normal(len(samples)) * np.sqrt(power / 10 ** (ratio / 10))
    return (samples + noise).astype(np.float32)


def mask_window(
    window: np.ndarray,
    rng: np.random.Generator,
    positions: int,
    filters: int | None,
    time_mask: float,
    band_mask: float,
) -> None:
    """Mask spans of a window (positions,) or (positions, bands) in place.

    Only the first `positions`, which the clip fills, and the first `filters` bands are changed. Later
    positions are silence, and a later band says what is audio.
    """
    heard = window[:positions] if filters is None else window[:positions, :filters]
    mean = heard.mean()
    for _ in range(MASKS):
        heard[_span(positions, time_mask, rng)] = mean
    if filters is not None:
        for _ in range(MASKS):
            heard[:, _span(filters, band_mask, rng)] = mean


def _span(length: int, share: float, rng: np.random.Generator) -> slice:
    """Return a span anywhere in ``range(length)``, of 0 positions up to a share of them."""
    width = int(rng.integers(0, int(share * length) + 1))
    start = int(rng.integers(0, length - width + 1))
    return slice(start, start + width)


def _shift(samples: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """Return samples without some at the start, or with zeros before them."""
    most = min(most, int(_MOST_SHIFTED * len(samples)))
    by = int(rng.integers(-most, most + 1))
    return samples[by:] if by >= 0 else np.pad(samples, (-by, 0))
