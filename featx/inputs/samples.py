"""What a report shows of one input: the JPEG of an image, a text, or a clip to see and to hear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class ClipSample:
    """The beginning of a clip.

    Attributes
    ----------
    picture : bytes
        Its spectrogram, a PNG: time to the right, frequency in mel upwards.
    sound : bytes
        A WAV or MP3 file of one channel.
    shown, seconds : float
        How long the beginning lasts, and the whole clip.
    highest : float
        The highest frequency of the spectrogram, in hertz.
    """

    picture: bytes = field(repr=False)
    sound: bytes = field(repr=False)
    shown: float
    seconds: float
    highest: float


#: The JPEG of an image, a text, or a clip.
Sample: TypeAlias = bytes | str | ClipSample
