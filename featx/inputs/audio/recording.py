"""Windows of long recordings as clips of their own: a recording is read and decoded once for all of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np

from featx.errors import AudioError, reason_of
from featx.inputs import Source
from featx.inputs.audio.decode import decode, frames_of
from featx.inputs.audio.reader import import_soundfile
from featx.inputs.audio.source import WHOLE, ClipContent, FileClip, Segment, digest_of_segment
from featx.inputs.audio.windows import window_starts

#: Most bytes of decoded recordings that are kept for the windows that are read next.
_KEPT = 2**29
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


def seconds_of(source: Source) -> float:
    """Return the length of a clip in seconds, of a file by its header; `AudioError` if it cannot be read."""
    if isinstance(source, FileClip):
        soundfile = import_soundfile()
        try:
            with soundfile.SoundFile(source.path) as file:
                rate, frames = int(file.samplerate), int(file.frames)
        except (soundfile.LibsndfileError, RuntimeError, ValueError, OSError) as error:
            raise AudioError(source.id, f"cannot be decoded ({reason_of(error)})") from error
        start, stop = frames_of(source.segment, rate, frames, source.id)
        return (stop - start) / rate
    samples, rate = decode(source.read())
    return len(samples) / rate


class Recording:
    """A clip of any source, decoded when the first of its windows is read.

    Parameters
    ----------
    source : Source
        A clip; it may be a segment of a file.
    kept : RecentRecordings
        Keeps the samples for the next window.

    Raises
    ------
    AudioError
        The source cannot be read or decoded.
    """

    def __init__(self, source: Source, kept: RecentRecordings) -> None:
        self.source, self._kept = source, kept
        whole: ClipContent = replace(source, segment=WHOLE).read()  # type: ignore[type-var]
        self.segment: Segment = source.segment  # type: ignore[attr-defined]
        self.segment.check(source.id)
        self.whole_digest, self.digest = whole.digest, digest_of_segment(whole.digest, self.segment)
        samples, rate = decode(replace(whole, segment=self.segment))
        self.seconds = len(samples) / rate
        kept.put(self, samples, rate)

    def samples(self) -> tuple[np.ndarray, int]:
        """Return the samples, float32 (frames,), and their rate."""
        return self._kept.get(self)

    def windows(self, window: float, hop: float) -> list[WindowClip]:
        """Return the windows as clips; one that is the whole recording has the digest of that."""
        segments = window_segments(self.seconds, window, hop, self.segment.start)
        if len(segments) == 1:
            return [WindowClip(self.source.id, self, segments[0], is_all=True)]
        return [WindowClip(f"{self.source.id}, {segment}", self, segment) for segment in segments]


class RecentRecordings:
    """The samples of the recordings that were read last; any thread may ask."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: OrderedDict[int, tuple[np.ndarray, int]] = OrderedDict()

    def put(self, recording: Recording, samples: np.ndarray, rate: int) -> None:
        """Keep samples, and forget those of other recordings beyond the most bytes."""
        with self._lock:
            self._put(recording, samples, rate)

    def get(self, recording: Recording) -> tuple[np.ndarray, int]:
        """Return the samples and the rate of a recording, decoded again if they were forgotten."""
        with self._lock:  # several threads ask for one recording, which is decoded once
            found = self._found.get(id(recording))
            if found is None:
                found = decode(recording.source.read())
                self._put(recording, *found)
            self._found.move_to_end(id(recording))
            return found

    def _put(self, recording: Recording, samples: np.ndarray, rate: int) -> None:
        self._found[id(recording)] = samples, rate
        while len(self._found) > 1 and sum(kept.nbytes for kept, _ in self._found.values()) > self._most:
            self._found.popitem(last=False)


@dataclass(frozen=True, slots=True, eq=False)
class WindowClip:
    """A window of a recording (`featx.inputs.Source`).

    `segment` has its times in the file; with `is_all` it is the whole recording.
    """

    id: str
    recording: Recording = field(repr=False)
    segment: Segment = WHOLE
    is_all: bool = False
    kind = "clip"
    is_file = False

    def read(self) -> ClipContent:
        """Return the samples, with the digest that the same segment of a file has."""
        samples, rate = self.recording.samples()
        if self.is_all:
            return ClipContent(self.recording.digest, self.id, samples, rate)
        first = round(self.recording.segment.start * rate)
        start, stop = (round(time * rate) - first for time in (self.segment.start, self.end))
        digest = digest_of_segment(self.recording.whole_digest, self.segment)
        return ClipContent(digest, self.id, samples[start:stop], rate)

    @property
    def end(self) -> float:
        """Where it ends, in seconds from the start of the file."""
        assert self.segment.stop is not None
        return self.segment.stop

    def stat_key(self) -> None:
        """Return None: the digest that is kept for a file is that of the whole."""
        return None
