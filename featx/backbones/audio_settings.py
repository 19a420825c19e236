"""How clips are prepared for a network that says nothing of it: as the user describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from featx.backbones.input_settings import InputSettings
from featx.errors import InputError
from featx.inputs.audio import AudioPreparation
from featx.inputs.audio.described import DescribedFrontEnd

#: Fields that only a description of audio has.
_ONLY_AUDIO = ("features", "rate")


def describes_audio(*given: Any) -> bool:
    """Return whether one of several preparations, or descriptions of them, is that of clips."""
    return any(
        isinstance(one, AudioPreparation)
        or (
            isinstance(one, Mapping)
            and (one.get("kind") == "clip" or any(name in one for name in _ONLY_AUDIO))
        )
        for one in given
    )


def described_preparation(
    fields: Mapping[str, Any], start: DescribedFrontEnd | None = None
) -> AudioPreparation:
    """Return the preparation of clips that a description states, for a network that makes no masks.

    `start` is the front end whose settings hold where none are stated. `InputError` for a description without
    the rate: with a wrong one, every row would be poor.
    """
    given = dict(fields)
    if given.pop("kind", "clip") != "clip":
        raise InputError(f"preprocessing: kind must be 'clip', that of audio, got {fields['kind']!r:.40}")
    if "rate" not in given:
        raise InputError(
            "preprocessing: the rate of the samples that the network takes is missing, such as 'rate': 16000"
        )
    return AudioPreparation(start or DescribedFrontEnd(), masks=False).changed(given)


def module_preparation(settings: InputSettings, label: str) -> AudioPreparation:
    """Return how clips are prepared for a network of the user's own, which gets no padding."""
    given, options = settings.preprocessing, replace(settings, preprocessing=None).of_kind("clip", label)
    try:
        if isinstance(given, AudioPreparation):
            return replace(given, masks=False).changed(options)
        return described_preparation({**given, **options})
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
