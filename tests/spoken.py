"""Made-up spoken words: bursts of noise with a spectrum of their own, which takes repeat with other noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featx.data import Dataset
from featx.inputs.audio import SampledClip

RATE = 8000
#: Backbone, engine and precision that make a run quick; filter banks need no weights.
QUICK = {"backbone": "kaldi:fbank", "engine": "torch", "precision": "fp32"}


def say(word: int, take: int = 0, *, speaker: int = 0, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """Return the samples of a word, float32: six sounds, each noise of a spectrum that the word decides."""
    spectra = np.random.default_rng(word).normal(0, 1.2, (6, 12))
    voice = np.random.default_rng(1000 + speaker).normal(0, 0.6, 12)
    noise = np.random.default_rng([word, take, speaker])
    spectra = spectra + voice + noise.normal(0, 0.7 if take else 0.2, spectra.shape)
    parts = []
    for levels in spectra:
        n = round(seconds * rate / 6)
        heard = np.interp(np.linspace(0, 11, n // 2 + 1), np.arange(12), np.exp(levels))
        parts.append(np.fft.irfft(heard * np.fft.rfft(noise.normal(size=n)), n))
    samples = np.concatenate(parts)
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def spoken_words(words: int = 3, takes: int = 4, speakers: int = 4, **more) -> Dataset:
    """Return a dataset of words by speakers, whose labels are the words and whose groups are the speakers."""
    each = [(w, s, t) for w in range(words) for s in range(speakers) for t in range(takes)]
    clips = [SampledClip(f"word{w}-{s}-{t}", say(w, t, speaker=s), RATE) for w, s, t in each]
    labels = np.array([w for w, _, _ in each])
    groups = np.array([f"speaker {s}" for _, s, _ in each])
    return Dataset(
        "words", clips, labels, tuple(f"word{w}" for w in range(words)), **{"groups": groups} | more
    )


def write_sound(file: Path, samples: np.ndarray, rate: int = RATE, **more) -> Path:
    """Write samples as the suffix of the file says."""
    import soundfile

    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, samples, rate, **more)
    return file
