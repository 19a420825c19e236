"""Decode clips: the samples of a file, of a segment of it, or of an array, averaged over channels."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np

from featx.errors import AudioError, reason_of
from featx.inputs.audio.reader import Reader, average_channels, file_of, open_reader
from featx.inputs.audio.recordings import Recording
from featx.inputs.audio.source import ClipContent, Segment

#: Largest sample: files of floating point may hold whole numbers of 32 bits. Beyond it, energies overflow.
LOUDEST = 2.0**32


def decode(content: ClipContent) -> tuple[np.ndarray, int]:
    """Return the samples of a clip, float32 (frames,), and their rate in hertz.

    Several channels are averaged. A segment is cut before it is resampled, so that it is the same as a file
    that was cut beforehand. `AudioError` when it cannot be decoded.
    """
    if isinstance(content.payload, np.ndarray):
        assert content.rate is not None
        rate = content.rate
        start, stop = frames_of(content.segment, rate, len(content.payload), content.id)
        samples = content.payload[start:stop]
        if samples.ndim == 2:
            samples = average_channels(samples)
    else:
        with _reader_of(content) as reader:
            samples, rate = _read_segment(reader, content.segment, content.id), reader.rate
    loudest = float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))
    if not math.isfinite(loudest):
        raise AudioError(content.id, "holds samples that are no numbers (NaN or infinite)")
    if loudest > LOUDEST:
        raise AudioError(content.id, f"holds samples up to {loudest:.2g}, where 1 is loud; it is damaged")
    return np.ascontiguousarray(samples, np.float32), rate


def frames_of(segment: Segment, rate: int, frames: int, id: str) -> tuple[int, int]:
    """Return the first frame of a segment and the one behind its last, of a recording with `frames`."""
    start, stop = _bounds(segment, rate, id)
    if frames == 0:
        raise AudioError(id, "holds no samples")
    if start >= frames:
        raise AudioError(id, f"its segment starts at {segment.start:g} s, and it lasts {frames / rate:g} s")
    return start, frames if stop is None else min(stop, frames)


def _bounds(segment: Segment, rate: int, id: str) -> tuple[int, int | None]:
    start, stop = round(segment.start * rate), None if segment.stop is None else round(segment.stop * rate)
    if stop is not None and stop <= start:
        raise AudioError(id, f"its segment {segment} holds no sample at {rate:,} Hz")
    return start, stop


def length_of(content: ClipContent) -> tuple[int, int]:
    """Return the frames of a clip and their rate in hertz, from the header of its file if it states them."""
    if isinstance(content.payload, np.ndarray):
        assert content.rate is not None
        frames, rate = len(content.payload), content.rate
    else:
        with _reader_of(content) as reader:
            if reader.frames is None:
                return len(_read_segment(reader, content.segment, content.id)), reader.rate
            frames, rate = reader.frames, reader.rate
    start, stop = frames_of(content.segment, rate, frames, content.id)
    return stop - start, rate


def _read_segment(reader: Reader, segment: Segment, id: str) -> np.ndarray:
    start, stop = _bounds(segment, reader.rate, id)
    if reader.frames is not None:
        start, stop = frames_of(segment, reader.rate, reader.frames, id)
    samples = reader.read(start, stop, id)
    if not len(samples):  # the end came before the segment
        frames_of(segment, reader.rate, reader.at, id)
    return samples


@contextlib.contextmanager
def _reader_of(content: ClipContent) -> Iterator[Reader]:
    """Give an open reader; that of a recording on disk stays open for its next segment."""
    recording = content.payload if isinstance(content.payload, Recording) else None
    try:
        if recording is None:
            reader = open_reader(file_of(content.payload), content.id)
        else:
            reader = recording.take_reader(content.segment.start, content.id)
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        if recording is None:
            reader.close()
        else:
            recording.keep_reader(reader)
    except OSError as error:
        where = "" if recording is None else f": {recording.key[0]}"
        raise AudioError(content.id, f"cannot be read ({reason_of(error)}){where}") from error
