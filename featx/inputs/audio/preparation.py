"""How a clip becomes what a network takes: decoded, averaged, resampled, cut into windows, filter banks.

A prepared clip is float32 (windows, positions) or (windows, positions, bands). `PADDING` stands behind the
end of shorter windows, always at the end; the network masks it, so that it changes no row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from featx.errors import AudioError, InputError
from featx.inputs import DURATION, SILENT
from featx.inputs.audio import reference_clips
from featx.inputs.audio.decode import decode
from featx.inputs.audio.front_ends import DESCRIBING, FrontEnd
from featx.inputs.audio.reader import require_length
from featx.inputs.audio.resample import resample, resampled_length
from featx.inputs.audio.source import ClipContent
from featx.inputs.audio.windows import spread_starts, window_starts
from featx.options.checks import JOIN, WINDOWS

#: Most values of the windows of a clip: 2 GiB, twice those of the longest clip.
MOST_VALUES = 2**29
#: Stands behind the end of a window in a batch; no sample and no filter bank has a value like it.
PADDING = -1e30
#: A clip that moves no further than this, 80 dB below full scale, is silent: three steps of 16 bits.
SILENCE = 1e-4


@dataclass(frozen=True)
class AudioPreparation:
    """The preparation of clips for a network (`featx.inputs.Preparation`).

    Parameters
    ----------
    front_end : FrontEnd
        What the network takes of samples.
    window : float
        Seconds that the network takes at a time. A longer clip is taken apart into windows.
    hop : float or None, default=None
        Seconds from the start of one window to the start of the next; None for a window.
    join : str, default="mean"
        How the rows of windows become one row: ``"mean"``, ``"max"``, or ``"concat:K"``, K windows spread
        evenly over the clip, side by side.
    pad : bool, default=False
        Whether a shorter window is extended to the whole length, as the front end does it. Needed by networks
        of one length.
    silence : float, default=0.0
        Seconds of silence that the network hears behind a window. It belongs to the window, and is not
        `PADDING`.
    masks : bool, default=True
        Whether the network masks `PADDING`; without, only windows of one length share a batch.
    longest : float or None, default=None
        Seconds that the network takes at most, silence included; None for a window.
    """

    kind: ClassVar[str] = "clip"
    stages: ClassVar[tuple[str, ...]] = ("decode", "resample", "transform")
    reference_version: ClassVar[int] = reference_clips.VERSION
    in_pieces: ClassVar[bool] = True
    padding: ClassVar[float] = PADDING

    front_end: FrontEnd = field(repr=False)
    window: float = 30.0
    hop: float | None = None
    join_by: str = "mean"
    pad: bool = False
    silence: float = 0.0
    masks: bool = True
    longest: float | None = None

    def __post_init__(self) -> None:
        for name in ("window", "hop"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and WINDOWS[0] <= value <= WINDOWS[1]) and not (name == "hop" and value is None):
                raise InputError(
                    f"preprocessing: {name} must be from {WINDOWS[0]:g} to {WINDOWS[1]:g} seconds, got "
                    f"{value!r}"
                )
        if not isinstance(self.join_by, str) or not JOIN.fullmatch(self.join_by):
            raise InputError(
                "preprocessing: join must be mean, max or concat:K, such as concat:3, got "
                f"{self.join_by!r:.40}"
            )
        silence = self.silence
        if isinstance(silence, bool) or not isinstance(silence, (int, float)) or not 0 <= silence <= 60:
            raise InputError(f"preprocessing: silence must be from 0 to 60 seconds, got {silence!r:.40}")
        if not isinstance(self.pad, bool):
            raise InputError(f"preprocessing: pad must be True or False, got {self.pad!r:.40}")

    @property
    def windows(self) -> int | None:
        """The number of windows of each clip; None where it follows from its length."""
        return int(self.join_by.removeprefix("concat:")) if self.join_by.startswith("concat:") else None

    @property
    def samples(self) -> int:
        """Samples of a whole window."""
        return max(1, round(self.window * self.front_end.rate))

    @property
    def most_samples(self) -> int:
        """Samples of a whole window with the silence behind it."""
        return max(self.front_end.shortest, self._length(self.samples) or self.samples)

    @property
    def hop_samples(self) -> int:
        """Samples from the start of one window to that of the next."""
        return max(1, round((self.hop or self.window) * self.front_end.rate))

    @property
    def shape(self) -> tuple[Any, ...]:
        """The positions of a window, None where they vary, and the bands of each."""
        positions = self.front_end.positions(self.samples) if self.pad else None
        return (positions,) if self.front_end.bands is None else (positions, self.front_end.bands)

    @property
    def dtype(self) -> np.dtype:
        """float32."""
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of a prepared clip of one window."""
        positions = self.front_end.positions(self.most_samples)
        return 4 * positions * (self.front_end.bands or 1) * (self.windows or 1)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes a prepared clip, as plain JSON data."""
        return {"kind": self.kind, "front_end": self.front_end.identity, **self.to_dict()}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data, with those of a front end that may be changed."""
        return {
            "window": self.window,
            "hop": self.hop,
            "join": self.join_by,
            "pad": self.pad,
            "silence": self.silence,
            **({} if self.front_end is None else self.front_end.settings),
        }

    @classmethod
    def fields_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of `to_dict` in the `identity` that a space states."""
        return {name: value for name, value in identity.items() if name not in ("kind", "front_end")}

    def changed(self, settings: Mapping[str, Any]) -> AudioPreparation:
        """Return the same preparation with other settings; `InputError` names one that there is not."""
        known, given = self.to_dict(), dict(settings)
        if self.front_end is None:  # only what does not depend on it is checked
            given = {name: value for name, value in given.items() if name not in DESCRIBING}
        wrong = [name for name in given if name not in known]
        if wrong:
            raise InputError(
                f"preprocessing: unknown setting {wrong[0]!r} of clips; expected {', '.join(known)}"
            )
        front = {name: given.pop(name) for name in DESCRIBING if name in given}
        changed = {"join_by" if name == "join" else name: value for name, value in given.items()}
        if front:
            changed["front_end"] = self.front_end.changed(front)
        return replace(self, **changed)

    def joined_dim(self, dim: int) -> int:
        """Return the length of a joined row, of windows whose rows have `dim` values."""
        return dim * (self.windows or 1)

    def samples_of(self, content: ClipContent, note: Callable[..., object] | None = None) -> np.ndarray:
        """Return the samples of a clip at the network's rate, float32 (frames,)."""
        samples, rate = decode(content)
        if note is not None:
            note("decode")
            note(DURATION, len(samples) / rate)
            if len(samples) and np.ptp(samples) <= 2 * SILENCE:
                note(SILENT)
        require_length(
            resampled_length(len(samples), rate, self.front_end.rate), self.front_end.rate, content.id
        )
        samples = resample(samples, rate, self.front_end.rate)
        if note is not None:
            note("resample")
        if not len(samples):
            raise AudioError(content.id, f"holds no sample at {self.front_end.rate} Hz")
        return samples

    def starts(self, frames: int) -> np.ndarray:
        """Return the first samples of the windows of a clip of so many samples, int64 (windows,)."""
        if self.windows is not None:
            return spread_starts(frames, self.samples, self.windows)
        return window_starts(frames, self.samples, self.hop_samples)

    def prepare(
        self,
        content: ClipContent,
        out: np.ndarray | None = None,
        note: Callable[..., object] | None = None,
    ) -> np.ndarray:
        """Return the windows of a clip; arguments as in `featx.inputs.Preparation`."""
        samples = self.samples_of(content, note)
        self._require_memory(len(samples), content.id)
        prepared = self.transform(samples)
        if note is not None:
            note("transform")
        return prepared

    def _require_memory(self, frames: int, id: str) -> None:
        """Raise `AudioError` where the windows of a clip of so many samples are too many for memory."""
        window = min(frames + 2 * self._margin, self.samples)
        values = self.front_end.positions(self._length(window) or window) * (self.front_end.bands or 1)
        count = self.windows or 1 + max(0, frames + 2 * self._margin - window) // self.hop_samples
        if values * count > MOST_VALUES:
            raise AudioError(
                id,
                f"its {count:,} windows of {self.window:g} s take {4e-9 * values * count:,.0f} GB, at most "
                f"{4e-9 * MOST_VALUES:.0f} are taken; take a longer hop, or segments of it (start and end)",
            )

    def transform(self, samples: np.ndarray) -> np.ndarray:
        """Return the windows of samples at the network's rate, float32 (windows, positions[, bands])."""
        samples = np.pad(samples, self._margin) if self._margin else samples
        length = self._length(min(len(samples), self.samples))
        starts = self.starts(len(samples)).tolist()
        return np.stack([self.front_end.compute(samples[at : at + self.samples], length) for at in starts])

    @property
    def _margin(self) -> int:
        """Samples of silence that the front end wants before and behind a clip."""
        return round(self.front_end.margin * self.front_end.rate)

    def _length(self, samples: int) -> int | None:
        """Return the samples to which a window of so many is extended; None where it stays as it is."""
        if self.pad:
            return self.samples
        behind = round(self.silence * self.front_end.rate)
        most = self.samples if self.longest is None else round(self.longest * self.front_end.rate)
        return max(samples, min(most, samples + behind)) if behind else None

    def collate(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Join windows into a batch, float32 (b, longest[, bands]), with `PADDING` behind shorter ones.

        No batch ends with positions of padding alone.
        """
        windows = [_without_padding(window) for window in prepared]
        longest = max(len(window) for window in windows)
        batch = np.empty((len(windows), longest, *windows[0].shape[1:]), np.float32)
        for row, window in zip(batch, windows, strict=True):
            row[: len(window)] = window
            row[len(window) :] = PADDING
        return batch

    def join(self, rows: np.ndarray, prepared: np.ndarray) -> np.ndarray:
        """Return one row of those of a clip's windows (windows, dim)."""
        if self.windows is not None:
            return rows.reshape(-1)
        if len(rows) == 1:
            return rows[0]
        joined: np.ndarray = (
            rows.max(axis=0) if self.join_by == "max" else rows.mean(axis=0, dtype=np.float64)
        )
        return joined.astype(np.float32)

    def reference_batch(self, count: int) -> np.ndarray:
        """Return windows of `featx.inputs.audio.reference_clips`, one of each clip, of different lengths."""
        clips = reference_clips.reference_clips(count, self.front_end.rate, self.window)
        return self.collate([self.transform(clip[: self.samples])[0] for clip in clips])

    def share_memory(self, processes: int, alone: Callable[[], AbstractContextManager]) -> None:
        """Do nothing: clips are small beside the memory of a machine."""


def _without_padding(window: np.ndarray) -> np.ndarray:
    """Return a window up to its end."""
    first = window.reshape(len(window), -1)[:, 0]
    if first[-1] != np.float32(PADDING):
        return window
    return window[: int((first != np.float32(PADDING)).sum())]
