"""Sources of audio clips: files and segments of them, encoded bytes, and samples in memory.

Each implements `featx.inputs.Source`. The digest is that of a file's bytes, with the segment that is taken
of it; of samples in memory, that of their values and rate.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.identity import digest_array, digest_bytes
from featx.errors import AudioError, DatasetError, SourceError, reason_of
from featx.inputs import Source
from featx.inputs.audio.completeness import RATES
from featx.inputs.audio.recordings import Recording, digest_of
from featx.inputs.files import file_stat_key, read_place, read_source_file
from featx.places import Place, StatKey

#: Suffixes of audio files.
AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aiff", ".aif", ".aifc", ".au", ".caf", ".sph"),
)
#: Those of audio that cannot be decoded. It counts, so that it is reported and not silently left out.
FOREIGN_SUFFIXES = (".m4a", ".aac", ".wma", ".amr", ".ape", ".wv")
_SUFFIXES = AUDIO_SUFFIXES + FOREIGN_SUFFIXES
#: Most bytes of a file that is read: four hours of 16-bit stereo at 48 kHz.
MAX_FILE_BYTES = 2**32
#: Latest second of a segment: 31 years.
_LATEST = 1e9
EXPECTED = "the path of an audio file, its bytes, or samples with their rate"


def is_audio_file(name: str) -> bool:
    """Whether a file of this name holds audio, by its suffix; also such audio as cannot be decoded."""
    return name.lower().endswith(_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording, in seconds from its start; `stop` None is its end."""

    start: float = 0.0
    stop: float | None = None

    def check(self, id: str) -> None:
        """Raise `AudioError` unless the segment begins at 0 s or later and ends after its start."""
        times = [self.start] if self.stop is None else [self.start, self.stop]
        if not all(isinstance(t, (int, float)) and abs(t) <= _LATEST for t in times) or self.start < 0:
            raise AudioError(id, f"start and end must be seconds of at least 0, got {self}")
        if self.stop is not None and self.stop <= self.start:
            raise AudioError(id, f"its end, {self.stop:g} s, is not after its start, {self.start:g} s")

    def __str__(self) -> str:
        return f"{self.start:g}-{'' if self.stop is None else f'{self.stop:g}'} s"

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole recording."""
        return self.start == 0 and self.stop is None

    @property
    def key(self) -> str:
        """The times, exactly, as a digest and a name of the segment hold them."""
        return f"{float(self.start)!r},{'' if self.stop is None else repr(float(self.stop))}"


WHOLE = Segment()


@dataclass(frozen=True, slots=True)
class ClipContent:
    """A clip that was read, and is not decoded yet (`featx.inputs.Content`).

    Attributes
    ----------
    digest : bytes
        32 bytes of BLAKE2b.
    id : str
    payload : bytes, Recording or ndarray
        An encoded file, in memory or on disk, or samples, float32 (frames,) or (frames, channels).
    rate : int or None
        Frames per second of samples; None for a file, which states its own.
    segment : Segment
        The part of it that is the clip.
    """

    digest: bytes
    id: str
    payload: Any = field(repr=False)
    rate: int | None = None
    segment: Segment = WHOLE

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""
        if isinstance(self.payload, Recording):
            return 0
        return self.payload.nbytes if isinstance(self.payload, np.ndarray) else len(self.payload)

    @classmethod
    def of_bytes(cls, data: bytes, id: str, segment: Segment = WHOLE) -> ClipContent:
        """Return the content of an encoded file, or of a segment of it."""
        segment.check(id)
        return cls(digest_of_segment(digest_bytes(data), segment), id, data, None, segment)

    @classmethod
    def of_samples(cls, samples: Any, rate: Any, id: str, segment: Segment = WHOLE) -> ClipContent:
        """Return the content of samples in memory; `AudioError` where they are none."""
        values = check_samples(samples, rate, id)
        segment.check(id)
        digest = digest_bytes(digest_array(values) + f"@{int(rate)}".encode())
        return cls(digest_of_segment(digest, segment), id, values, int(rate), segment)


def digest_of_segment(digest: bytes, segment: Segment) -> bytes:
    """Return the digest of a segment of a recording, from that of the whole."""
    return digest if segment.is_whole else digest_bytes(digest + segment.key.encode())


def check_samples(samples: Any, rate: Any, id: str) -> np.ndarray:
    """Return samples as float32 (frames,) or (frames, channels); `AudioError` where they are none.

    Integers are divided by the largest value of their type, as in a file of that width.
    """
    try:
        values = np.asarray(samples)
    except (ValueError, TypeError) as error:  # lists of different lengths
        raise AudioError(
            id, f"expected samples (frames,) or (frames, channels) ({reason_of(error)})"
        ) from error
    whole = isinstance(rate, (int, float, np.integer, np.floating)) and not isinstance(rate, bool)
    if not whole or not RATES[0] <= rate <= RATES[1] or int(rate) != rate:
        raise AudioError(
            id, f"the rate must be whole hertz from {RATES[0]} to {RATES[1]:,}, got {rate!r:.40}"
        )
    if values.ndim not in (1, 2) or values.dtype.kind not in "iuf" or values.size == 0:
        raise AudioError(
            id, f"expected samples (frames,) or (frames, channels), got {values.dtype} {values.shape}"
        )
    if values.ndim == 2 and values.shape[0] < values.shape[1]:
        raise AudioError(
            id,
            f"samples {values.shape} are (frames, channels) with fewer frames than channels; transpose them",
        )
    if values.dtype.kind == "u":
        values = (values.astype(np.float64) - 2 ** (8 * values.itemsize - 1)) / 2 ** (8 * values.itemsize - 1)
    elif values.dtype.kind == "i":
        values = values.astype(np.float64) / 2 ** (8 * values.itemsize - 1)
    with np.errstate(over="ignore"):  # infinite values are named when the clip is decoded
        return np.ascontiguousarray(values, np.float32)


@dataclass(frozen=True, slots=True)
class FileClip:
    """An audio file on disk, or a segment of it."""

    id: str
    path: str
    segment: Segment = WHOLE
    kind = "clip"
    is_file = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))

    def read(self) -> ClipContent:
        """Read the file; `AudioError` where it cannot be read.

        A recording of which a segment is taken is hashed once for all its segments, and stays on disk.
        """
        if not self.segment.is_whole:
            self.segment.check(self.id)
            key = file_stat_key(self.path)
            with contextlib.suppress(OSError):  # it is named below
                digest = digest_of(key) if key is not None else None
                if key is not None and digest is not None:
                    digest = digest_of_segment(digest, self.segment)
                    return ClipContent(digest, self.id, Recording(key), None, self.segment)
        data = read_source_file(self.path, self.id, AudioError, MAX_FILE_BYTES)
        return ClipContent.of_bytes(data, self.id, self.segment)

    def stat_key(self) -> tuple[str, int, int, int] | None:
        """Return (absolute path, size, mtime in ns, ctime in ns), or None where there is no regular file.

        A segment has another digest than the whole: a null byte and its times stand behind the path.
        """
        key = file_stat_key(self.path)
        if key is None or self.segment.is_whole:
            return key
        return f"{key[0]}\0{self.segment.key}", *key[1:]


@dataclass(frozen=True, slots=True)
class StoredClip:
    """An audio file in an archive, a remote store or a column, or a segment of it."""

    id: str
    place: Place
    segment: Segment = WHOLE
    kind = "clip"
    is_file = True

    def read(self) -> ClipContent:
        """Read the place."""
        data = read_place(self.place, self.id, AudioError, MAX_FILE_BYTES)
        return ClipContent.of_bytes(data, self.id, self.segment)

    def stat_key(self) -> StatKey | None:
        """Return what names the place's present state, or None where that is not known."""
        key = self.place.stat_key()
        if key is None or self.segment.is_whole:
            return key
        return f"{key[0]}\0{self.segment.key}", *key[1:]


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """The bytes of an audio file, in memory."""

    id: str
    data: bytes = field(repr=False)
    segment: Segment = WHOLE
    kind = "clip"
    is_file = False

    def read(self) -> ClipContent:
        """Return the bytes with their digest."""
        return ClipContent.of_bytes(bytes(self.data), self.id, self.segment)

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class SampledClip:
    """Samples in memory, (frames,) or (frames, channels), with their rate in hertz."""

    id: str
    samples: Any = field(repr=False)
    rate: int = 0
    segment: Segment = WHOLE
    kind = "clip"
    is_file = False

    def read(self) -> ClipContent:
        """Return the samples with their digest; `AudioError` where they are none."""
        return ClipContent.of_samples(self.samples, self.rate, self.id, self.segment)

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class LazyClip:
    """A clip that a function returns when it is needed, as samples and rate or as bytes."""

    id: str
    load: Callable[[], object] = field(repr=False)
    segment: Segment = WHOLE
    kind = "clip"
    is_file = False

    def read(self) -> ClipContent:
        """Call `load`; `AudioError` when it gives no clip."""
        try:
            source: Any = as_source(self.load(), self.id)
        except SourceError:
            raise
        except (DatasetError, OSError, EOFError) as error:
            raise AudioError(self.id, str(error)) from error
        content: ClipContent = replace(source, segment=self.segment).read()
        return content

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


#: All sources of clips.
SOURCES = (FileClip, StoredClip, EncodedClip, SampledClip, LazyClip)


def as_source(obj: object, id: str) -> Source:
    """Make the source of a path, encoded bytes, or a pair of samples and rate; rename what is a source.

    `DatasetError` for any other object.
    """
    if isinstance(obj, SOURCES):
        return obj if obj.id == id else replace(obj, id=id)
    if isinstance(obj, (str, Path)):
        return FileClip(id, os.fspath(Path(obj).expanduser()))
    if isinstance(obj, (bytes, bytearray, memoryview)):
        return EncodedClip(id, bytes(obj))
    if isinstance(obj, tuple) and len(obj) == 2:
        samples, rate = obj
        return SampledClip(id, samples, rate)
    raise DatasetError(f"{id}: expected {EXPECTED}, got {type(obj).__name__}")
