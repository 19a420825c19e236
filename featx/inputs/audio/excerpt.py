"""Make what a report shows of a clip: a small spectrogram, and a sound file of a few seconds."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np

from featx.inputs.audio.decode import decode, length_of
from featx.inputs.audio.reader import import_soundfile
from featx.inputs.audio.resample import resample
from featx.inputs.audio.source import ClipContent, Segment
from featx.inputs.samples import ClipSample

__all__ = ["MOST_SOUND", "spectrogram", "take_excerpt"]

#: Seconds that are shown and heard at most, and bytes of a sound file.
MOST_SECONDS, MOST_SOUND = 10.0, 100_000
#: The lowest rate that browsers play, and the highest one here.
_RATES = (3000, 16000)
#: Columns and bands of a spectrogram; with four bits a point it takes less than 6 kB whatever it shows.
WIDTH, HEIGHT = 192, 56
#: Decibels below the loudest point that are not black.
_RANGE = 70.0
#: From silence to the loudest point: colours that are clear on a light page and on a dark one.
_COLOURS = ((14, 12, 34), (74, 26, 110), (160, 44, 106), (228, 92, 58), (250, 176, 54), (252, 250, 190))
_LEVELS = 16
#: The bytes that a shorter sound file is aimed at, of those allowed: bit rates vary.
_MARGIN = 0.9


def take_excerpt(content: ClipContent, most_bytes: int = MOST_SOUND) -> ClipSample:
    """Return the first seconds of a clip with their spectrogram, the sound in at most `most_bytes` or so.

    Raises
    ------
    AudioError
        The clip cannot be decoded.
    """
    frames, rate = length_of(content)
    seconds = frames / rate
    if seconds > MOST_SECONDS:  # the rest of a recording of hours need not be decoded
        start = content.segment.start
        content = replace(content, segment=Segment(start, start + MOST_SECONDS))
    samples, rate = decode(content)
    wanted = min(max(rate, _RATES[0]), _RATES[1])
    beginning = resample(samples[: round(MOST_SECONDS * rate)], rate, wanted)
    # Samples of floating point may lie beyond 1, where a file of 16 bits ends.
    beginning = beginning / max(1.0, float(np.abs(beginning).max(initial=0.0)))
    sound, n = _encode(beginning, wanted, most_bytes)
    beginning = beginning[:n]
    return ClipSample(
        picture=_png(spectrogram(beginning, wanted)),
        sound=sound,
        shown=min(seconds, len(beginning) / wanted),
        seconds=seconds,
        highest=wanted / 2,
    )


def _encode(samples: np.ndarray, rate: int, most: int) -> tuple[bytes, int]:
    """Return a sound file of the first samples, and how many: all as WAV, or as MP3, or those that fit."""
    soundfile = import_soundfile()
    fitting = max(1, (most - 100) // 2)
    if len(samples) <= fitting or "MP3" not in soundfile.available_formats():
        return _file(soundfile, samples[:fitting], rate, "WAV", "PCM_16"), min(fitting, len(samples))
    # MP3 has few rates.
    n, higher = len(samples), resample(samples, rate, _RATES[1])
    while True:
        sound = _file(soundfile, higher[: round(n * _RATES[1] / rate)], _RATES[1], "MP3", "MPEG_LAYER_III")
        if len(sound) <= most or n <= fitting:
            return sound, n
        n = max(fitting, int(n * _MARGIN * most / len(sound)))


def _file(soundfile: Any, samples: np.ndarray, rate: int, form: str, coding: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=coding)
    return buffer.getvalue()


def spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return log mel energies, float64 (`HEIGHT`, `WIDTH`), the highest band first: 0 to 1, the loudest."""
    frame = 1 << max(5, round(0.032 * rate).bit_length() - 1)
    step = max(1, min(frame // 2, len(samples) // WIDTH))
    padded = np.pad(samples, (frame // 2, frame // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::step]
    power = np.abs(np.fft.rfft(frames * np.hanning(frame).astype(np.float32), axis=1)) ** 2
    bands = power @ _mel_bands(frame, rate)
    # Each column is the mean of its frames; where there are fewer frames than columns, between them.
    total = np.concatenate([np.zeros((1, HEIGHT)), np.cumsum(bands, axis=0)])
    edges = np.linspace(0, len(bands), WIDTH + 1)
    columns = np.diff([np.interp(edges, np.arange(len(total)), band) for band in total.T], axis=1)
    loudest = columns.max(initial=0.0)
    if loudest <= 0:
        return np.zeros((HEIGHT, WIDTH))
    levels = 10 * np.log10(np.maximum(columns / loudest, 10 ** (-_RANGE / 10)))
    return 1 + levels[::-1] / _RANGE


def _mel_bands(frame: int, rate: int) -> np.ndarray:
    """Return the weights of triangular bands of equal width in mel, float64 (frame // 2 + 1, `HEIGHT`)."""
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, HEIGHT + 2) / 2595) - 1) * frame / rate
    bins = np.arange(frame // 2 + 1)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    # A band is at least one bin wide on each side: low bands are narrower than the bins.
    rising = (bins - np.minimum(low, middle - 1)) / np.maximum(middle - low, 1)
    falling = (np.maximum(high, middle + 1) - bins) / np.maximum(high - middle, 1)
    weights: np.ndarray = np.clip(np.minimum(rising, falling), 0, None)
    return weights / weights.sum(axis=0)


def _png(levels: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.rint(levels * (_LEVELS - 1)).astype(np.uint8), "P")
    at = np.linspace(0, len(_COLOURS) - 1, _LEVELS)
    colours = [np.interp(at, np.arange(len(_COLOURS)), channel) for channel in zip(*_COLOURS, strict=True)]
    picture.putpalette(np.rint(np.stack(colours, axis=1)).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=4, optimize=True)
    return buffer.getvalue()
