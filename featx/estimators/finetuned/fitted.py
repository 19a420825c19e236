"""Hold the result of a fit, and choose the content of its pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ModelMismatch

if TYPE_CHECKING:
    from featx.methods.finetune import FineTuned


class Fitted:
    """Hold the result of a fit; its pickle has the trained tensors, but of the frozen ones the identity only.

    `precision` is that of the head's training embeddings, `seed` that of the first fit, and `fits` the number
    of fits that continued each other.
    """

    def __init__(self, tuned: FineTuned, precision: str, seed: int, fits: int):
        self._tuned: FineTuned | None = tuned
        self.precision, self.seed, self.fits = precision, seed, fits
        self._identity = _identity(tuned._backbone)
        self._kept: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None

    def tuned(self, load: Callable[[], Any], device: str) -> FineTuned:
        """Return the fine-tuned network; after unpickling, rebuild it on the backbone that `load` returns."""
        if self._tuned is None:
            from featx.methods.finetune import FineTuned

            assert self._kept is not None
            trained, record = self._kept
            backbone = load()
            self.check(backbone)
            self._tuned = FineTuned.rebuild(trained, backbone, device=device, **record)
        return self._tuned

    def check(self, backbone: Any) -> None:
        """Check that it is the backbone of the fit; a `ModelMismatch` names the field that differs."""
        here = _identity(backbone)
        for name, fitted in self._identity.items():
            if here.get(name) != fitted:
                raise ModelMismatch(
                    f"FineTunedClassifier: fitted on a backbone with {name} {fitted!r}, but {backbone.name} "
                    f"here has {here.get(name)!r}; give the same weights, or fit it again"
                )

    def __getstate__(self) -> dict[str, Any]:
        kept = self._kept if self._tuned is None else (self._tuned.trained_values(), self._tuned.record())
        return self.__dict__ | {"_tuned": None, "_kept": kept}


def _identity(backbone: Any) -> dict[str, Any]:
    identity = backbone.identity | {"preprocessing": backbone.preprocessing.to_dict()}
    for part in ("tokenizer", "front_end"):
        if part in backbone.preprocessing.identity:
            identity[part] = backbone.preprocessing.identity[part]
    return identity
