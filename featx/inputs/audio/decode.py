"""Decode clips with soundfile: the samples of a file or of a segment of it, averaged over channels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from featx.errors import AudioError, MissingExtra, reason_of
from featx.inputs.audio.source import ClipContent, Segment


def import_soundfile() -> Any:
    """Import soundfile, which reads audio files."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library, libsndfile, is missing
        raise MissingExtra("soundfile", "audio", "reading audio") from error
    return soundfile


def decode(content: ClipContent) -> tuple[np.ndarray, int]:
    """Return the samples of a clip, float32 (frames,), and their rate in hertz.

    Several channels are averaged. A segment is cut before anything else is done with it, so that it is the
    same as a file that was cut beforehand. `AudioError` when it cannot be decoded.
    """
    if isinstance(content.payload, np.ndarray):
        assert content.rate is not None
        start, stop = frames_of(content.segment, content.rate, len(content.payload), content.id)
        samples, rate = content.payload[start:stop], content.rate
    else:
        samples, rate = _decode_file(content)
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(samples).all():
        raise AudioError(content.id, "holds samples that are no numbers (NaN or infinite)")
    return np.ascontiguousarray(samples, np.float32), rate


def frames_of(segment: Segment, rate: int, frames: int, id: str) -> tuple[int, int]:
    """Return the first frame of a segment and the one behind its last, of a recording with `frames`."""
    start = round(segment.start * rate)
    stop = frames if segment.stop is None else min(frames, round(segment.stop * rate))
    if frames == 0:
        raise AudioError(id, "holds no samples")
    if start >= frames:
        raise AudioError(id, f"its segment starts at {segment.start:g} s, and it lasts {frames / rate:g} s")
    if stop <= start:
        raise AudioError(id, f"its segment {segment} holds no sample at {rate} Hz")
    return start, stop


def _decode_file(content: ClipContent) -> tuple[np.ndarray, int]:
    soundfile = import_soundfile()
    try:
        with soundfile.SoundFile(io.BytesIO(content.payload)) as file:
            rate = int(file.samplerate)
            start, stop = frames_of(content.segment, rate, file.frames, content.id)
            file.seek(start)
            return file.read(stop - start, dtype="float32", always_2d=True), rate
    except (soundfile.LibsndfileError, RuntimeError, ValueError, OSError, MemoryError) as error:
        raise AudioError(content.id, f"cannot be decoded ({reason_of(error)})") from error
