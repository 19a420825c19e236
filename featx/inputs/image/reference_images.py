"""Synthetic images, the same on every machine, on which engines are compared with plain fp32.

Whether an engine passes must not depend on whose images come first. These have the statistics of photographs:
objects of all sizes that hide one another, in the colours of a scene (the dead leaves model: Lee, Mumford and
Huang, "Occlusion models for natural images", 2001), lit from one side, with a texture whose amplitude falls
as 1/f (Field, "Relations between the statistics of natural images and the response properties of cortical
cells", 1987).
"""

from __future__ import annotations

import numpy as np

#: Version of the images; decisions made on other versions do not count.
VERSION = 1

#: Number of leaves, their least and largest radius as a share of the shorter side, number of base colours.
_LEAVES, _SMALLEST, _LARGEST, _COLOURS = 100, 0.03, 0.6, 8
#: Standard deviations of the texture and of the noise, in grey levels.
_TEXTURE, _NOISE = 14.0, 3.0


def reference_images(count: int, size: tuple[int, int]) -> np.ndarray:
    """Return the first `count` images of a fixed series of `size` (height, width): uint8 (count, h, w, 3)."""
    return np.stack([_make_image(np.random.default_rng([VERSION, number]), *size) for number in range(count)])


def _make_image(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    side = min(height, width)
    y, x = np.ogrid[:height, :width]
    palette = rng.uniform(20, 235, (_COLOURS, 1)) + rng.normal(0, 30, (_COLOURS, 3))  # bright or dark, a hue
    image = np.empty((height, width, 3), np.float32)
    image[:] = palette[0]
    # Radii of density r^-3 between a and b: with u uniform, 1 / r^2 = u / a^2 + (1 - u) / b^2. The large
    # leaves go first, so that they hide no small one.
    u = np.sort(rng.uniform(size=_LEAVES))
    for radius in side / np.sqrt(u / _SMALLEST**2 + (1 - u) / _LARGEST**2):
        colour = palette[rng.integers(_COLOURS)] + rng.normal(0, 12, 3)
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        stretch, angle = rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
        rows = slice(max(0, int(cy - radius)), int(cy + radius) + 1)
        columns = slice(max(0, int(cx - radius)), int(cx + radius) + 1)
        dy, dx = y[rows] - cy, x[:, columns] - cx
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        inside = along**2 + (across / stretch) ** 2 <= radius**2
        image[rows, columns][inside] = colour
    across, down = rng.uniform(-0.5, 0.5, 2)
    image *= (1 + across * (x / width - 0.5) + down * (y / height - 0.5))[..., None]  # lit from one side
    image += (_TEXTURE * _one_over_f(rng, height, width))[..., None]
    image += rng.normal(0, _NOISE, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _one_over_f(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw noise whose amplitude falls as one over the frequency: (height, width), mean 0, deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency, s=(height, width))
    return noise / max(float(noise.std()), 1e-12)
