"""Show and pickle an estimator that holds a network of the user's."""

from __future__ import annotations

import inspect
from typing import Any

from featx.options import is_module


class NetworkHolder:
    """Mixin for estimators with a parameter `backbone`, which may be or hold a `torch.nn.Module`.

    A network is shown by its name alone, and pickled whole, with lambdas in it, too.
    """

    backbone: Any

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Return the parameters that are not their defaults, as scikit-learn shows them."""
        backbones = self.backbone if isinstance(self.backbone, (list, tuple)) else [self.backbone]
        if all(isinstance(one, str) for one in backbones):
            text: str = super().__repr__(N_CHAR_MAX)  # type: ignore[call-arg]
            return text
        defaults = inspect.signature(type(self)).parameters
        params: dict[str, Any] = self.get_params(deep=False)  # type: ignore[attr-defined]
        shown = [
            f"{name}={_short(value)}"
            for name, value in sorted(params.items())
            if name == "backbone" or repr(value) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        from featx.backbones.own.pickling import pack_module

        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        held = state["backbone"]
        several = type(held) in (list, tuple)
        return state | {"backbone": type(held)(map(pack_module, held)) if several else pack_module(held)}


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_short, value))}]"
    if is_module(value):
        return f"<{type(value).__name__}>"
    if hasattr(value, "architecture"):  # a loaded backbone
        return f"<{value.name}>"
    return " ".join(repr(value).split())
