"""Images that are nobody's: alike everywhere, and like photographs where that matters."""

from __future__ import annotations

import numpy as np
import pytest

from featx.inputs.image.reference_images import reference_images


def test_the_series_is_fixed():
    few, more = reference_images(2, (40, 56)), reference_images(5, (40, 56))
    assert (few.shape, few.dtype) == ((2, 40, 56, 3), np.uint8)
    np.testing.assert_array_equal(few, more[:2])
    assert len({image.tobytes() for image in more}) == 5


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (32, 32), (96, 64)])
def test_any_size_that_a_network_sees_will_do(size):
    assert reference_images(1, size).shape == (1, *size, 3)


def test_they_are_neither_flat_nor_noise():
    images = reference_images(4, (128, 128)).astype(float)
    assert images.std(axis=(1, 2)).min() > 20
    # The power of photographs falls about as the square of the frequency.
    power = np.abs(np.fft.rfft2(images.mean(axis=3))).mean(axis=0)[:, 1:] ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None, 1:])
    near = (frequency > 0.02) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[near]), np.log(power[near]), 1)[0]
    assert -3.5 < slope < -1.5
