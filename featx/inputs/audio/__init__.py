"""Audio as a kind of input: where clips come from, how they are decoded and prepared for a network."""

from featx.inputs.audio.decode import decode
from featx.inputs.audio.fingerprint import clip_content, clip_hash, group_copies
from featx.inputs.audio.front_ends import FrontEnd, Waveform
from featx.inputs.audio.preparation import PADDING, AudioPreparation
from featx.inputs.audio.source import (
    AUDIO_SUFFIXES,
    FOREIGN_SUFFIXES,
    SOURCES,
    WHOLE,
    ClipContent,
    EncodedClip,
    FileClip,
    LazyClip,
    SampledClip,
    Segment,
    StoredClip,
    as_source,
    is_audio_file,
)

__all__ = [
    "AUDIO_SUFFIXES",
    "FOREIGN_SUFFIXES",
    "PADDING",
    "SOURCES",
    "WHOLE",
    "AudioPreparation",
    "ClipContent",
    "EncodedClip",
    "FileClip",
    "FrontEnd",
    "LazyClip",
    "SampledClip",
    "Segment",
    "StoredClip",
    "Waveform",
    "as_source",
    "clip_content",
    "clip_hash",
    "decode",
    "group_copies",
    "is_audio_file",
]
