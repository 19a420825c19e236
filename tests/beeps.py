"""Small made-up sounds: beeps of a low or a high tone, in memory and in WAV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RATE = 16000
#: Arguments that make a run quick and need no weights.
QUICK = {"backbone": "kaldi:fbank", "engine": "torch", "precision": "fp32"}
TONES = {"low": 300.0, "high": 1800.0}


def beep(label: str, number: int, seconds: float = 0.3, rate: int = RATE) -> np.ndarray:
    """A tone near that of a label, over noise: float32 (frames,)."""
    rng = np.random.default_rng([number, *label.encode()])
    t = np.arange(round(seconds * rate)) / rate
    sound = np.sin(2 * np.pi * TONES[label] * rng.uniform(0.9, 1.1) * t)
    return (0.4 * sound + 0.02 * rng.standard_normal(len(t))).astype(np.float32)


def beeps(
    per_class: int, seconds: float = 0.3, first: int = 0
) -> tuple[list[tuple[np.ndarray, int]], list[str]]:
    """Pairs of samples and rate, and their labels."""
    labels = [label for _ in range(per_class) for label in TONES]
    return [(beep(label, first + i, seconds), RATE) for i, label in enumerate(labels)], labels


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Write samples as a WAV file of 16 bits, and return its path."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16", format="WAV")
    return path


def write_beeps(folder: Path, per_class: int, seconds: float = 0.3) -> list[Path]:
    """Write a folder of WAV files with one subfolder for each label, and return the files."""
    found = []
    for number, (pair, label) in enumerate(zip(*beeps(per_class, seconds), strict=True)):
        found.append(write_wav(folder / label / f"{number:02d}.wav", pair[0]))
    return found


def recording(labels: str, seconds: float = 0.3) -> np.ndarray:
    """Beeps one after the other, of ``l`` and ``h``: float32 (frames,)."""
    named = {"l": "low", "h": "high"}
    return np.concatenate([beep(named[one], 100 + i, seconds) for i, one in enumerate(labels)])
