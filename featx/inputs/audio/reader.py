"""Read the samples of an open file with soundfile, forward, averaged over channels, and in bounded memory."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from featx.errors import AudioError, MissingExtra, as_one_error
from featx.inputs.audio.completeness import check_complete, check_header
from featx.inputs.audio.containers import HEAD, describe_other, id3_length, recognise
from featx.inputs.audio.mpeg import lengthened
from featx.inputs.audio.quiet import silent_in_c

#: Most frames of a clip: 1.5 hours at 48 kHz, 4.6 hours at 16 kHz; they take 1 GiB.
MOST_FRAMES = 2**28
#: Frames by which MP3 files of some programs are shorter than they promise.
_TOLERANCE = 2 * 1152
#: Values that are decoded at a time.
_BLOCK = 2**20
#: Larger files in memory are read through a descriptor: libsndfile then reads without asking for the
#: interpreter's lock at every few kilobytes.
_SMALL = 2**16
#: Formats and encodings in which a seek gives the same samples as decoding from the start. It does not in
#: Vorbis, Opus and MP3, whose decoders keep a state.
_EXACT = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
_SEEKING = ("WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC")


def import_soundfile() -> Any:
    """Import soundfile, which reads audio files."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library, libsndfile, is missing
        raise MissingExtra("soundfile", "audio", "reading audio") from error
    return soundfile


def file_of(data: bytes) -> BinaryIO:
    """Return a file in memory that holds the bytes, to be closed by the caller."""
    if len(data) <= _SMALL or not hasattr(os, "memfd_create"):
        return _BytesFile(data)
    view = memoryview(data)
    try:
        file = os.fdopen(os.memfd_create("featx-clip"), "r+b", buffering=0)
        while len(view):
            view = view[file.write(view) :]
    except OSError:  # too many open files, or no memory for a second copy
        return _BytesFile(data)
    return file  # type: ignore[return-value]


class _Part(io.RawIOBase):
    """A file from its byte `begin` on, in which the length at `open_length` reads as an unknown one."""

    def __init__(self, file: BinaryIO, begin: int, open_length: int | None) -> None:
        self._whole, self._begin, self._open = file, begin, open_length
        self.name = "part"

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            offset += self._begin
        with contextlib.suppress(ValueError, OSError):  # a damaged file leads before its start
            self._whole.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._whole.tell() - self._begin

    def write(self, data: object) -> int:
        raise OSError("not writable")

    def read(self, count: int = -1) -> bytes:
        at = self._whole.tell()
        data = self._whole.read(count)
        if self._open is None or not at - 4 < self._open < at + len(data):
            return data
        changed = bytearray(data)
        for i in range(max(self._open, at), min(self._open + 4, at + len(data))):
            changed[i - at] = 255
        return bytes(changed)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _BytesFile(io.BytesIO):
    def seek(self, offset: int, whence: int = 0) -> int:
        """Stay in place where a damaged file leads before its start; cffi would print the error."""
        with contextlib.suppress(ValueError):
            return super().seek(offset, whence)
        return self.tell()


class Reader:
    """An open audio file that is read forward; it is made and used by one thread at a time.

    Parameters
    ----------
    file : binary file
        It stays open until `close`.
    id : str
        Name of the clip, for errors.

    Attributes
    ----------
    rate : int
        Frames per second.
    frames : int or None
        Frames that there are; None where only reading to the end tells.
    seeks : bool
        Whether it goes to a frame without decoding those before it.
    """

    def __init__(self, file: BinaryIO, id: str) -> None:
        self._file, self._at = file, 0
        forward_file = _forward_file()
        size = file.seek(0, os.SEEK_END)
        self._form, begin = _recognise(file, size, id)
        promise = check_complete(file, self._form, begin, size, id)
        file.seek(0)
        if promise.open_length is not None:
            opened: Any = _Part(file, 0, promise.open_length)
        elif self._form == "FLAC" and begin:  # libsndfile does not find a frame behind a tag
            opened = _Part(file, begin, None)
            opened.seek(0)
        else:
            opened = file if isinstance(file, io.BytesIO) else file.fileno()
        self._copy: BinaryIO | None = None
        with self._decoding(id):
            self._sound = forward_file(opened, closefd=False)
            if self._form == "MP3" and not promise.counts:
                at = file.tell()
                whole = lengthened(file, begin, int(self._sound.frames))
                file.seek(at)  # libsndfile reads at the same place
                if whole is not None:
                    self._copy = file_of(whole)
                    self._copy.seek(0)
                    opened = self._copy if isinstance(self._copy, io.BytesIO) else self._copy.fileno()
                    self._sound.close()
                    self._sound = forward_file(opened, closefd=False)
            self.rate, self._channels = int(self._sound.samplerate), int(self._sound.channels)
            frames, coding = int(self._sound.frames), self._sound.subtype
            if self._form == "MP3":  # as `soundfile.read` does; the last bits depend on it
                self._sound.seek(0)
        check_header(self.rate, self._channels, id)
        self.seeks = self._form in _SEEKING and (self._form == "FLAC" or coding.startswith(_EXACT))
        counts = promise.counts and 0 <= frames < 2**62
        # The last frames of MP3 may be silence that the encoder added; programs count them in several ways.
        self.frames = frames if counts and self._form != "MP3" else None
        self._promised = (frames - (_TOLERANCE if self._form == "MP3" else 0)) if counts else 0
        if self.frames == 0:
            raise AudioError(id, "holds no samples")
        if self._form == "FLAC" and self.frames:
            self._check_last(id)

    def _check_last(self, id: str) -> None:
        """Raise `AudioError` unless the last frame that the header promises is there."""
        assert self.frames is not None
        try:
            self._go_to(self.frames - 1, id)
            there = len(self._block(1, id)) == 1
        except AudioError:
            there = False
        if not there:
            raise AudioError(
                id,
                f"a truncated or damaged {self._form} file: its header promises {self.frames:,} frames, and "
                "the last one is missing; copy it again",
            )

    @property
    def at(self) -> int:
        """The frame that is read next."""
        return self._at

    def reaches(self, start: float) -> bool:
        """Whether it can go to the frame at so many seconds, which is not behind it if it does not seek."""
        return self.seeks or self._at <= round(start * self.rate)

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        self._file.close()
        if self._copy is not None:
            self._copy.close()

    def read(self, start: int, stop: int | None, id: str) -> np.ndarray:
        """Return the samples from frame `start` until `stop`, or the end, float32 (frames,).

        Fewer where the file has fewer. `start` must not be before `at`, unless the file `seeks`.
        """
        self._go_to(start, id)
        end = self.frames if stop is None else stop
        if end is not None:
            require_length(end - start, self.rate, id)
        parts, count = [], 0
        while end is None or start + count < end:
            part = self._block(_BLOCK if end is None else end - start - count, id)
            if not len(part):
                break
            parts.append(part)
            count += len(part)
            require_length(count, self.rate, id)
        if stop is None or (self.frames is not None and stop >= self.frames):
            self._check_end(id)
        if len(parts) == 1 and end is not None:
            return parts[0]
        with self._decoding(id):  # memory may not be enough
            return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _go_to(self, start: int, id: str) -> None:
        if self.seeks and start != self._at:
            with self._decoding(id):
                self._sound.seek(start)
            self._at = start
        assert start >= self._at
        while self._at < start and len(self._block(start - self._at, id)):
            pass

    def _block(self, frames: int, id: str) -> np.ndarray:
        """Read at most so many frames, and average their channels."""
        with self._decoding(id):
            block = self._sound.read(
                min(frames, max(1, _BLOCK // self._channels)), dtype="float32", always_2d=True
            )
        self._at += len(block)
        return average_channels(block)

    def _check_end(self, id: str) -> None:
        if self._at < self._promised:
            raise AudioError(
                id,
                f"a truncated or damaged {self._form} file: its header promises {self._promised:,} frames, "
                f"{self._at:,} are there; copy it again",
            )

    @contextlib.contextmanager
    def _decoding(self, id: str) -> Iterator[None]:
        """Turn the errors of soundfile into one of the clip."""
        broken = f"a damaged {self._form} file, or one of an unknown kind: it cannot be decoded"
        with (
            as_one_error(lambda reason: AudioError(id, f"{broken} ({_short(reason)})")),
            silent_in_c() if self._form == "MP3" else contextlib.nullcontext(),
        ):
            yield


def average_channels(samples: np.ndarray) -> np.ndarray:
    """Return the mean of the channels of samples (frames, channels), float32 (frames,)."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):  # the clip is named for infinite values
        mean: np.ndarray = samples.mean(axis=1, dtype=np.float32)
    return mean


def open_reader(file: BinaryIO, id: str) -> Reader:
    """Return a reader of a file, which is closed if it cannot be read."""
    try:
        return Reader(file, id)
    except BaseException:
        file.close()
        raise


@functools.cache
def _forward_file() -> Any:
    """Return soundfile's class of files, changed so that it does not seek after each block that it reads."""

    class ForwardFile(import_soundfile().SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return ForwardFile


def _recognise(file: BinaryIO, size: int, id: str) -> tuple[str, int]:
    """Return the format of a file and where it begins, behind its tags; `AudioError` where it is none."""
    file.seek(0)
    head, begin = file.read(HEAD), 0
    for _ in range(8):  # several tags may follow one another
        if not (tag := id3_length(head)):
            break
        begin += tag
        if begin >= size:
            raise AudioError(id, "a truncated MP3 file: it ends within its tag (ID3); copy it again")
        file.seek(begin)
        head = file.read(HEAD)
    form = recognise(head)
    if form is None:
        raise AudioError(id, describe_other(head))
    if begin and form not in ("MP3", "FLAC"):
        raise AudioError(id, f"is a {form} file behind a tag of MP3 (ID3); convert it to WAV or FLAC")
    return form, begin


def require_length(frames: int, rate: int, id: str) -> None:
    """Raise `AudioError` for more frames than are held in memory at once."""
    if frames > MOST_FRAMES:
        raise AudioError(
            id,
            f"{frames / rate / 3600:.1f} hours at {rate:,} Hz, and at most {MOST_FRAMES / rate / 3600:.1f} "
            "are decoded at once; take segments of it (start and end)",
        )


def _short(reason: str) -> str:
    """Leave out the name under which soundfile knows the file."""
    return reason.rsplit(": ", 1)[-1].rstrip(".")
