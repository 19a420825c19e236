"""The options of `featx.backbones.load_backbone` that say how inputs are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featx.errors import InputError
from featx.inputs.text import TextPreparation
from featx.options import require_no_effect

#: The options that belong to one kind of input.
_OF_KIND = {"image": ("image_size",), "text": ("max_length", "long", "prefix")}


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
    """

    preprocessing: Any = None
    image_size: int | None = None
    max_length: int | None = None
    long: str | None = None
    prefix: str | None = None

    def of_texts(self, name: str) -> dict[str, Any]:
        """Return the settings of texts that are given, those of `preprocessing` and the options.

        `InputError` names the backbone `name` where `preprocessing` is none of texts.
        """
        stated = self.preprocessing
        if isinstance(stated, TextPreparation):
            stated = stated.to_dict()
        if stated is not None and not isinstance(stated, Mapping):
            raise InputError(
                f"{name}: preprocessing of texts must be a dict such as {{'max_length': 128}}, got "
                f"{type(stated).__name__}"
            )
        options = {option: getattr(self, option) for option in _OF_KIND["text"]}
        return {**(stated or {}), **{key: value for key, value in options.items() if value is not None}}

    def require(self, kind: str, name: str) -> None:
        """Raise `InputError` for an option of another kind of input; `name` is that of the backbone."""
        for other, options in _OF_KIND.items():
            for option in options if other != kind else ():
                require_no_effect(option, getattr(self, option), None, f"{name} takes {kind}s")
