"""Hold what a fit produced, and choose what goes into its pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ModelMismatch

if TYPE_CHECKING:
    from featx.methods.finetune import FineTuned


class Fitted:
    """Hold the result of a fit; its pickle has the trained values, and only the identity of the frozen ones.

    Parameters
    ----------
    tuned : FineTuned
    precision : str
        Of the embeddings that the head was trained on.
    seed : int
        Of the first of the fits that went on from each other.
    fits : int
        How many these were.
    """

    def __init__(self, tuned: FineTuned, precision: str, seed: int, fits: int):
        self._tuned: FineTuned | None = tuned
        self.precision, self.seed, self.fits = precision, seed, fits
        self._identity = _identity(tuned._backbone)
        self._kept: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None

    def tuned(self, load: Callable[[], Any], device: str) -> FineTuned:
        """Return the fine-tuned network; after unpickling, rebuild it on the network that `load` gives.

        Raises
        ------
        ModelMismatch
            It gives another backbone than was fitted on, or other weights.
        """
        if self._tuned is None:
            from featx.methods.finetune import FineTuned

            assert self._kept is not None
            trained, record = self._kept
            backbone = load()
            self.check(backbone)
            self._tuned = FineTuned.rebuilt(trained, backbone, device=device, **record)
        return self._tuned

    def check(self, backbone: Any) -> None:
        """Raise `ModelMismatch`, naming the field, where it is not the backbone that was fitted on."""
        here = _identity(backbone)
        for name, fitted in self._identity.items():
            if here[name] != fitted:
                raise ModelMismatch(
                    f"FineTunedClassifier: it was fitted on a backbone with {name} {fitted!r}, and "
                    f"{backbone.name} here has {here[name]!r}; give the same weights, or fit it again"
                )

    def __getstate__(self) -> dict[str, Any]:
        kept = self._kept if self._tuned is None else (self._tuned.trained(), self._tuned.record())
        return self.__dict__ | {"_tuned": None, "_kept": kept}


def _identity(backbone: Any) -> dict[str, Any]:
    return backbone.identity | {"preprocessing": backbone.preprocessing.to_dict()}
