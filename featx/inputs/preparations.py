"""The preparation of each kind of input, and how a space states it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.errors import InputError
from featx.inputs.audio import AudioPreparation
from featx.inputs.image import Preprocessing
from featx.inputs.text import TextPreparation
from featx.kinds import kind_of

#: The class of each kind.
PREPARATIONS: dict[str, Any] = {"image": Preprocessing, "text": TextPreparation, "clip": AudioPreparation}


def settings_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `load_backbone` takes as `preprocessing`, from the `identity` that a space states."""
    settings: dict[str, Any] = PREPARATIONS[kind_of(identity)].fields_of(identity)
    return settings


def check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    """Raise `InputError` unless `settings` are all those of a preparation of that kind, and valid."""
    if kind == "image":
        Preprocessing.from_dict(settings)
        return
    stated = PREPARATIONS[kind](None)  # settings are checked without a tokenizer or a front end
    missing = [name for name in stated.to_dict() if name not in settings]
    if missing:
        raise InputError(f"preprocessing: {missing[0]!r} is missing")
    stated.changed(settings)
