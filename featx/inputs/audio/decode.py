"""Decode clips: the samples of a file, of a segment of it, or of an array, averaged over channels."""

from __future__ import annotations

import numpy as np

from featx.errors import AudioError, reason_of
from featx.inputs.audio.reader import Reader, file_of, open_reader
from featx.inputs.audio.recordings import Recording
from featx.inputs.audio.source import ClipContent, Segment


def decode(content: ClipContent) -> tuple[np.ndarray, int]:
    """Return the samples of a clip, float32 (frames,), and their rate in hertz.

    Several channels are averaged. A segment is cut before it is resampled, so that it is the same as a file
    that was cut beforehand. `AudioError` when it cannot be decoded.
    """
    payload, segment = content.payload, content.segment
    if isinstance(payload, np.ndarray):
        assert content.rate is not None
        rate = content.rate
        start, stop = frames_of(segment, rate, len(payload), content.id)
        samples = payload[start:stop]
        if samples.ndim == 2:
            samples = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    elif isinstance(payload, Recording):
        samples, rate = _decode_recording(payload, segment, content.id)
    else:
        reader = open_reader(file_of(payload), content.id)
        try:
            samples, rate = _read_segment(reader, segment, content.id), reader.rate
        finally:
            reader.close()
    if not np.isfinite(samples).all():
        raise AudioError(content.id, "holds samples that are no numbers (NaN or infinite)")
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


def _read_segment(reader: Reader, segment: Segment, id: str) -> np.ndarray:
    start, stop = _bounds(segment, reader.rate, id)
    if reader.frames is not None:
        start, stop = frames_of(segment, reader.rate, reader.frames, id)
    samples = reader.read(start, stop, id)
    if not len(samples):  # the end came before the segment
        frames_of(segment, reader.rate, reader.at, id)
    return samples


def _decode_recording(recording: Recording, segment: Segment, id: str) -> tuple[np.ndarray, int]:
    try:
        reader = recording.take_reader(segment.start, id)
        try:
            samples, rate = _read_segment(reader, segment, id), reader.rate
        except BaseException:
            reader.close()
            raise
        recording.keep_reader(reader)
    except OSError as error:
        raise AudioError(id, f"cannot be read ({reason_of(error)}): {recording.key[0]}") from error
    return samples, rate
