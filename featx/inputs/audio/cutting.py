"""Cut recordings into windows, each of which is a clip of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from featx.errors import AudioError, reason_of
from featx.inputs import Source
from featx.inputs.audio.decode import decode, frames_of
from featx.inputs.audio.reader import open_reader
from featx.inputs.audio.recordings import open_recording
from featx.inputs.audio.source import WHOLE, FileClip, SampledClip, Segment
from featx.inputs.audio.windows import window_starts

#: Times are whole microseconds, so that they do not depend on how they were added up.
_PER_SECOND = 1_000_000


def window_segments(seconds: float, window: float, hop: float, offset: float = 0.0) -> list[Segment]:
    """Return the windows of a recording of so many seconds, as segments that begin at `offset` or later.

    They start at multiples of the hop; the last one ends with the recording. One that is no longer than a
    window is a single segment.
    """
    length, size, step = (round(value * _PER_SECOND) for value in (seconds, window, hop))
    begin = round(offset * _PER_SECOND)
    return [
        Segment((begin + at) / _PER_SECOND, (begin + min(at + size, length)) / _PER_SECOND)
        for at in window_starts(length, size, step).tolist()
    ]


def cut_into_windows(source: Source, window: float, hop: float) -> list[tuple[Segment, Source]]:
    """Return the windows of a recording, in seconds of its file, and each as a clip.

    Windows of a file are segments of it, which are decoded when they are read. Any other recording is decoded
    here, and its windows are samples. A recording of one window is itself. `AudioError` when it cannot be
    read.
    """
    given: Any = source
    offset = given.segment.start
    if isinstance(source, FileClip):
        found = window_segments(seconds_of(source), window, hop, offset)
        clips: list[Source] = [replace(source, id=_name(source, one), segment=one) for one in found]
    else:
        samples, rate = decode(source.read())
        found = window_segments(len(samples) / rate, window, hop, offset)
        clips = [SampledClip(_name(source, one), _part(samples, rate, one, offset), rate) for one in found]
    return [(found[0], source)] if len(found) == 1 else list(zip(found, clips, strict=True))


def _name(source: Source, segment: Segment) -> str:
    return f"{source.id}, {segment}"


def _part(samples: np.ndarray, rate: int, segment: Segment, offset: float) -> np.ndarray:
    """Return a segment of samples that begin at second `offset`: the frames that it has in the whole."""
    assert segment.stop is not None
    first = round(offset * rate)
    return samples[round(segment.start * rate) - first : round(segment.stop * rate) - first]


def seconds_of(source: Source) -> float:
    """Return the length of a clip in seconds: of a file by its header, if that can be trusted.

    `AudioError` when it cannot be read.
    """
    if isinstance(source, FileClip) and replace(source, segment=WHOLE).stat_key() is not None:
        try:
            file = open_recording(source.path)
        except OSError as error:
            raise AudioError(source.id, f"cannot be read ({reason_of(error)}): {source.path}") from error
        reader = open_reader(file, source.id)
        try:
            rate, frames = reader.rate, reader.frames
        finally:
            reader.close()
        if frames is not None:
            start, stop = frames_of(source.segment, rate, frames, source.id)
            return (stop - start) / rate
    samples, rate = decode(source.read())
    return len(samples) / rate
