"""The options of `featx.backbones.load_backbone` that say how inputs are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featx.errors import InputError
from featx.inputs.preparations import PREPARATIONS
from featx.options import require_no_effect

#: The options that belong to one kind of input.
_OF_KIND = {
    "image": ("image_size",),
    "text": ("max_length", "long", "prefix"),
    "clip": ("window", "hop", "join"),
}

#: Settings that `preprocessing` may hold, as messages show them.
_EXAMPLES = {"text": "{'max_length': 128}", "clip": "{'window': 2.0, 'hop': 1.0}"}


@dataclass(frozen=True)
class InputSettings:
    """How inputs are prepared, where that is not left to the weights; None leaves it to them.

    Attributes
    ----------
    preprocessing : object
        The whole preparation: an object of its kind, or its settings as a dict.
    image_size : int or None
        Another size of images.
    max_length : int or None
        Most tokens of a text.
    long : {"cut", "mean"} or None
        What happens to longer texts.
    prefix : str or None
        Stands before every text.
    window, hop : float or None
        Seconds of audio that the network takes at a time, and from the start of one window to the next.
    join : str or None
        How the rows of the windows of a clip become one row: ``"mean"``, ``"max"`` or ``"concat:K"``.
    """

    preprocessing: Any = None
    image_size: int | None = None
    max_length: int | None = None
    long: str | None = None
    prefix: str | None = None
    window: float | None = None
    hop: float | None = None
    join: str | None = None

    def of_kind(self, kind: str, name: str) -> dict[str, Any]:
        """Return the settings that are given for inputs of a kind, those of `preprocessing` and the options.

        `InputError` names the backbone `name` where `preprocessing` is that of another kind.
        """
        stated = self.preprocessing
        if isinstance(stated, PREPARATIONS[kind]):
            stated = stated.to_dict()
        if stated is not None and not isinstance(stated, Mapping):
            raise InputError(
                f"{name}: preprocessing of {kind}s must be a dict such as {_EXAMPLES[kind]}, got "
                f"{type(stated).__name__}"
            )
        options = {option: getattr(self, option) for option in _OF_KIND[kind]}
        return {**(stated or {}), **{key: value for key, value in options.items() if value is not None}}

    def require(self, kind: str, name: str) -> None:
        """Raise `InputError` for an option of another kind of input; `name` is that of the backbone."""
        for other, options in _OF_KIND.items():
            for option in options if other != kind else ():
                require_no_effect(option, getattr(self, option), None, f"{name} takes {kind}s")


#: Everything is left to the weights.
NO_SETTINGS = InputSettings()
