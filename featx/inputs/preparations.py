"""The preparation of each kind of input, and how a space states it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.inputs.image import Preprocessing
from featx.inputs.text import TextPreparation
from featx.kinds import kind_of

#: The class of each kind.
PREPARATIONS: dict[str, Any] = {"image": Preprocessing, "text": TextPreparation}


def settings_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `load_backbone` takes as `preprocessing`, from the `identity` that a space states."""
    settings: dict[str, Any] = PREPARATIONS[kind_of(identity)].fields_of(identity)
    return settings
