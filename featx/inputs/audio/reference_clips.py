"""Fixed clips, the same on every machine, on which engines are compared with plain fp32."""

from __future__ import annotations

import numpy as np

#: Version of the clips; it changes with every one of them.
VERSION = 1
#: Seconds of the longest and the shortest clip.
_LONGEST, _SHORTEST = 4.0, 0.4


def reference_clips(count: int, rate: int, longest: float) -> list[np.ndarray]:
    """Return the first `count` of a fixed series of clips, float32 (frames,) in [-1, 1], at a rate in hertz.

    Each is a voice-like sound: a gliding tone with harmonics whose loudness rises and falls, over noise. No
    clip is longer than `longest` seconds.
    """
    return [_clip(number, rate, longest) for number in range(count)]


def _clip(number: int, rate: int, longest: float) -> np.ndarray:
    rng = np.random.default_rng([21, number])
    seconds = min(longest, _SHORTEST + (_LONGEST - _SHORTEST) * float(rng.random()) ** 2)
    t = np.arange(max(1, round(seconds * rate))) / rate
    pitch, glide, beat = rng.uniform(80, 400), rng.uniform(-0.5, 0.5), rng.uniform(2, 8)
    phase = 2 * np.pi * pitch * (t + glide * t**2 / 2 / max(seconds, 1.0))
    voice = sum(rng.uniform(0.1, 1) / k * np.sin(k * phase) for k in range(1, 9) if k * pitch < 0.4 * rate)
    loudness = 0.55 + 0.45 * np.sin(2 * np.pi * beat * t + rng.uniform(0, 6))
    sound = loudness * voice + 0.05 * rng.standard_normal(len(t))
    return (0.8 * sound / np.abs(sound).max()).astype(np.float32)
